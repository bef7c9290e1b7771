"""Checks keep few of a world's results: large states of many steps would not fit in its bound."""

import weakref
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.backends.fake import FakeBackend
from dreamserve.conformance import draws, dreams
from dreamserve.conformance.subject import STEPS, Subject
from dreamserve.engine.fake import fake_world
from dreamserve.spaces import DiscreteSpace

MANY = DiscreteSpace(n=300, names=tuple(map(str, range(300))))


class Watched:
    """A backend that counts the states that it returned and that still exist."""

    def __init__(self, inner: FakeBackend) -> None:
        self._inner, self._states = inner, []
        self.most, self.rows = 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def step(self, batch: StepInput) -> StepOutput:
        output = self._inner.step(batch)
        self._states = [one for one in self._states if one() is not None]
        self._states.append(weakref.ref(output.state[0]))
        self.most = max(self.most, len(self._states))
        self.rows = max(self.rows, len(batch.latent))
        return output


@pytest.fixture
def subject() -> Subject:
    world = fake_world(space=MANY)
    return Subject(world.spec, Watched(world.backend), world.bank)


def test_every_action_is_tried_and_few_results_are_kept(subject: Subject) -> None:
    taken = []
    step = subject.backend.step
    subject.backend.step = lambda batch: (taken.append(int(batch.action[0])), step(batch))[1]
    assert [finding.level for finding in dreams.actions(subject)] in ([], ["warning"])
    assert taken == list(range(300))
    assert subject.backend.most <= 3


def test_dreams_keep_the_numbers_that_are_judged_and_few_states(subject: Subject) -> None:
    list(dreams.finite_dreams(subject))
    list(dreams.ends(subject))
    list(dreams.reward(subject))
    assert len(subject.dreams.rewards) == STEPS
    assert len(subject.rows.latent) == 64
    assert subject.backend.most <= 8


def test_draws_are_made_in_batches_of_the_sizes_that_are_tried(subject: Subject) -> None:
    assert draws._moments_off(subject, 1.0) in ("", "mean", "variance")
    assert subject.backend.rows <= 256
    assert subject.backend.most <= 8
    list(draws.noise(subject))
    assert subject.backend.most <= 8
    assert np.isfinite(subject.rows.latent).all()
