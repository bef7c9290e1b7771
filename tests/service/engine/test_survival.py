"""The objective `survival`: what it sums is the expected number of steps survived, in any world."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.backends.fake import FakeBackend, fake_spec
from dreamserve.engine.imagination.trajectories import RolloutStart
from dreamserve.engine.world import World
from dreamserve.local import LocalClient
from dreamserve.manifest import DoneRule
from dreamserve.spaces import DiscreteSpace
from dreamserve_protocol.plan import Objective

DRAWN, CUT = DoneRule(rule="drawn"), DoneRule()
NOW, LATER = 0, 1
HORIZON = 10


class Doomed(FakeBackend):
    """The first action chooses a danger: 0.4 in the first step, or 0.9 in the sixth."""

    def step(self, batch: StepInput) -> StepOutput:
        output, (_, count) = super().step(batch), batch.state
        chosen = np.where(count == 0, batch.action, batch.latent[:, 0]).astype(np.float32)
        danger = np.full(len(count), 1e-9)
        danger[(chosen == NOW) & (count == 0)] = 0.4
        danger[(chosen == LATER) & (count == 5)] = 0.9
        latent = output.latent.copy()
        latent[:, 0] = chosen
        logit = np.log(danger / (1 - danger)).astype(np.float32)
        return replace(output, latent=latent, done_logit=logit)


def doomed(rule: DoneRule) -> LocalClient:
    spec = fake_spec(space=DiscreteSpace(n=2, names=("now", "later")), done=rule)
    dream = LocalClient(World(spec, Doomed(spec)))
    dream.reset(session_id="a", seed=1)
    return dream


@pytest.mark.parametrize(
    ("rule", "action", "expected"),
    [
        (DRAWN, NOW, 10 * 0.6),
        (DRAWN, LATER, 5 + 5 * 0.1),
        (CUT, NOW, 10 * 0.6),
        (CUT, LATER, 5 + 0.1),  # the dream ends with this step
    ],
)
def test_one_dream_gives_the_expected_number_of_steps_survived(
    rule: DoneRule, action: int, expected: float
) -> None:
    plan = doomed(rule).plan(
        session_id="a",
        horizon=HORIZON,
        candidates=1,
        planner="random_shooting",
        discount=1.0,
        policy={"kind": "constant", "action": action},
        objective=Objective(survival=1.0),
    )
    assert plan.value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rule", [DRAWN, CUT])
def test_the_sequence_that_is_expected_to_survive_longer_is_planned(rule: DoneRule) -> None:
    plan = doomed(rule).plan(
        session_id="a", horizon=HORIZON, candidates=8, discount=1.0, objective={"survival": 1.0}
    )
    assert plan.action == NOW


def test_other_terms_are_the_same_beside_survival_where_ends_are_drawn(worth: Any) -> None:
    spec = fake_spec(done=DRAWN)
    state = (np.zeros((1, 3), np.float32), np.zeros(1, np.float32))
    latent = np.array([[0.6, 0.1, -0.2, 0.3]], np.float32)
    start = RolloutStart(World(spec, FakeBackend(spec)), latent, state, step=0, temperature=1.0)
    actions, goal = np.random.default_rng(0).integers(0, 3, (60, 8)), np.zeros(4, np.float32)
    parts = [Objective(reward=1), Objective(survival=1), Objective(target=goal)]
    reward, survival, target = (worth(start, actions, objective=part) for part in parts)
    assert np.ptp(reward) > 1, "some end early"
    mixed = worth(start, actions, objective=Objective(2.0, -0.5, goal, 3.0))
    np.testing.assert_allclose(mixed, 2 * reward - 0.5 * survival + 3 * target, rtol=1e-9)
