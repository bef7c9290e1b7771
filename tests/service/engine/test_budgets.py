"""What a budget leaves of a search, and when a plan says that it was cut short."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.backends.fake import FakeBackend, fake_spec
from dreamserve.engine.imagination.latency import FEWEST, LatencyModel, fit_to_budget
from dreamserve.engine.world import World
from dreamserve.local import LocalClient
from dreamserve.manifest import RewardRule
from dreamserve.planning.cem import Cem

ROW_S = 1e-5


class Slow:
    """A backend whose steps advance a clock by ROW_S for each row, times `slower`.

    It pays 1 for action 2, or for every action.
    """

    def __init__(self, backend: Any, slower: float, pays_all: bool) -> None:
        self._backend, self._row_s, self.now_s = backend, slower * ROW_S, 0.0
        self._pays_all = pays_all

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def __call__(self) -> float:
        return self.now_s

    def step(self, batch: StepInput) -> StepOutput:
        self.now_s += self._row_s * len(batch.latent)
        output: StepOutput = self._backend.step(batch)
        pays = ((batch.action == 2) | self._pays_all).astype(np.float32)
        return replace(output, reward=pays, done_logit=np.full_like(pays, -9))


def dreaming(slower: float = 1.0, pays_all: bool = False) -> LocalClient:
    """Return a client with a session "a", whose server expects ROW_S for each row."""
    rule = RewardRule(kind="constant", value=1.0) if pays_all else RewardRule(kind="head")
    spec = fake_spec(reward=rule)
    backend = Slow(FakeBackend(spec), slower, pays_all)
    client = LocalClient(World(spec, backend), clock=backend)
    client.reset(session_id="a", seed=4)
    latency = client.engine._contexts[""].latencies[client.world]
    latency.took_s = {rows: rows * ROW_S for rows in (1, 256)}
    latency.plan_s = 0.0
    return client


def test_particles_are_fewer_where_even_few_candidates_would_not_fit() -> None:
    latency = LatencyModel({1: 1e-5, 1000: 1e-2}, plan_s=0)
    requested = Cem(candidates=64, iterations=4)
    found = [fit_to_budget(requested, 20, 100, latency, s) for s in (1e-4, 0.02, 0.2, 100)]
    particles = [count for _, count in found]
    assert particles == sorted(particles)
    assert (particles[0], particles[-1]) == (1, 100)
    assert 1 < particles[1] < 100
    fewest: Any = found[1][0]
    assert (fewest.candidates, fewest.iterations) == (FEWEST, 1)
    assert found[-1][0] == requested
    assert fit_to_budget(replace(requested, candidates=1), 20, 100, latency, 0.1)[1] == 100


def test_a_search_with_many_particles_is_still_a_search() -> None:
    client = dreaming()
    plan = client.plan("a", horizon=12, particles=1000, budget_ms=50)
    assert plan.evaluations >= FEWEST
    assert plan.cut_short


@pytest.mark.parametrize("slower", [1.5, 3.0])
def test_what_a_deadline_leaves_of_all_sequences_begins_with_every_action(slower: float) -> None:
    client = dreaming(slower)
    plan = client.plan("a", horizon=6, candidates=729, iterations=1, budget_ms=65)
    assert plan.cut_short
    assert 200 < plan.evaluations < 729
    assert plan.value > sum(0.99**t for t in range(6)) - 2
    assert plan.action == 2


def test_of_all_sequences_of_equal_value_the_first_is_taken() -> None:
    client = dreaming()
    plan = client.plan("a", horizon=4, candidates=81, iterations=1, discount=0.0)
    assert plan.actions.tolist() == [2, 0, 0, 0]


def test_a_plan_of_all_sequences_is_not_cut_short_by_fewer_candidates() -> None:
    client = dreaming()
    plan = client.plan("a", horizon=4, candidates=5000, iterations=50, budget_ms=200)
    assert (plan.evaluations, plan.cut_short) == (81, False)
    assert plan.actions.tolist() == [2, 2, 2, 2]


def test_a_plan_than_which_none_can_be_better_is_not_cut_short() -> None:
    client = dreaming(pays_all=True)
    plan = client.plan("a", horizon=12, candidates=5000, iterations=50, budget_ms=200)
    assert plan.iterations == 1
    assert not plan.cut_short
