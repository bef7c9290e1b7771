"""Plans that a policy guides: the search starts from its actions, and it may go on after them."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.backends.fake import FakeBackend
from dreamserve.engine.fake import fake_world
from dreamserve.engine.limits import Limits
from dreamserve.engine.world import World
from dreamserve.local import LocalClient
from dreamserve_protocol.errors import (
    InvalidRequestError,
    NotFiniteInputError,
    TooLargeError,
)
from dreamserve_protocol.plan import PlanResult
from dreamserve_protocol.policies import ConstantPolicy, LinearPolicy

WEIGHTS = np.random.default_rng(3).standard_normal((3, 8)).astype(np.float32)
POLICY = LinearPolicy(WEIGHTS)


def plan(dream: LocalClient, **fields: Any) -> PlanResult:
    few = {"horizon": 6, "candidates": 1, "iterations": 1, "seed": 5, "temperature": 0.0}
    return dream.plan(session_id="a", **{"planner": "random_shooting", **few, **fields})


def dream_on(world: World, temperature: float = 1.0, **options: Any) -> LocalClient:
    dream = LocalClient(world, **options)
    dream.reset(session_id="a", seed=4, temperature=temperature)
    return dream


def follow(dream: LocalClient, steps: int, policy: Any = POLICY) -> list[int]:
    """Return the actions that a policy takes in the session's dream at T = 0, to its end."""
    result = dream.rollout(
        policy=policy,
        session_id="a",
        episodes=1,
        max_steps=steps,
        temperature=0.0,
        include={"trajectories"},
    )
    assert result.actions is not None
    actions: list[int] = result.actions[0, 0, : result.lengths[0, 0]].tolist()
    return actions


@pytest.mark.parametrize("planner", ["random_shooting", "cem", "icem", "mppi"])
def test_a_policys_actions_are_the_first_candidate_of_every_planner(planner: str) -> None:
    dream = dream_on(fake_world())
    found = plan(dream, planner=planner, policy=POLICY)
    alone = plan(dream, planner=planner, policy=ConstantPolicy(0))
    if planner == "random_shooting":  # the others evaluate their last centre, too
        followed = follow(dream, 6)
        assert found.actions[: len(followed)].tolist() == followed
        assert alone.actions.tolist() == [0] * 6
    assert found.value >= plan(dream, policy=POLICY).value


def test_the_bundled_policy_guides_by_its_name() -> None:
    dream = dream_on(fake_world(has_policy=True))
    followed = follow(dream, 6, "bundled")
    assert plan(dream, policy="bundled").actions[: len(followed)].tolist() == followed
    with pytest.raises(InvalidRequestError, match="no bundled controller; give another policy"):
        plan(dream_on(fake_world()), policy="bundled")


def test_a_policy_replaces_the_rest_of_the_last_plan() -> None:
    dream = dream_on(fake_world())
    first = plan(dream, policy=ConstantPolicy(2))
    assert first.actions.tolist() == [2] * 6
    assert plan(dream).actions.tolist() == [2] * 6  # which is kept for the next plan
    assert plan(dream, policy=ConstantPolicy(0)).actions.tolist() == [0] * 6


def test_a_deadline_while_the_policy_is_followed_keeps_what_it_has_done() -> None:
    """Its last action is held from there on; its first one needs no step at all."""
    for budget_ms, known in ((1, 1), (27, 4)):  # three steps fit into 27 ms
        world, now_s = fake_world(), [0.0]
        backend = Slow(world, now_s)
        dream = dream_on(World(world.spec, backend, world.bank), clock=lambda: now_s[0])  # noqa: B023
        policy = LinearPolicy(np.random.default_rng(5).standard_normal((3, 8)).astype(np.float32))
        followed = follow(dream, 6, policy)
        assert followed == [1, 0, 0, 0, 2, 2]
        found = plan(dream, policy=policy, planner="cem", budget_ms=budget_ms)
        held = [*followed[:known], *[followed[known - 1]] * (6 - known)]
        assert (found.actions.tolist(), found.cut_short) == (held, True)


class Slow(FakeBackend):
    """Takes 10 ms a step, by a clock of its own."""

    def __init__(self, world: World, now_s: list[float]) -> None:
        super().__init__(world.spec)
        self._now_s = now_s

    def step(self, batch: StepInput) -> StepOutput:
        self._now_s[0] += 10e-3
        return super().step(batch)


def test_a_world_that_becomes_nan_on_the_policys_way_does_not_blame_the_policy() -> None:
    dream = dream_on(fake_world(nan_action=2))
    into_nan = LinearPolicy(np.zeros((3, 8), np.float32), np.array([0, 0, 1], np.float32))
    found = plan(dream, policy=into_nan, candidates=200)
    assert np.isfinite(found.value)
    assert 2 not in found.actions[:1].tolist()


class Forgetful(FakeBackend):
    """Ends the dream with the third step; its state is NaN from the next one on."""

    def step(self, batch: StepInput) -> StepOutput:
        output = super().step(batch)
        memory, n = output.state
        ends = np.where(n > 2.5, np.float32(9), np.float32(-9))
        memory = np.where(n[:, None] > 3.5, np.nan, memory).astype(np.float32)
        return replace(output, state=(memory, n), done_logit=ends)


def test_what_a_world_computes_after_an_end_is_nobodys_fault() -> None:
    world = fake_world()
    dream = dream_on(World(world.spec, Forgetful(world.spec), world.bank))
    assert plan(dream, policy=POLICY, horizon=8, candidates=50).actions.shape == (8,)
    sampled = dream.sample(session_id="a", policy=POLICY, horizon=8, futures=3)
    assert sampled.terminated[:, 2].all()
    assert np.isfinite(sampled.latents).all()


class Paying:
    """Pays 1 for each step in which action 2 is taken, and ends dreams that took it 9 times."""

    name = "numpy"

    def step(self, batch: StepInput) -> StepOutput:
        taken = batch.action == 2
        latent = batch.latent.copy()
        latent[:, 0] += taken
        logit = np.where(latent[:, 0] > 8.5, np.float32(1), np.float32(-1))
        zeros = np.zeros((len(latent), 1, latent.shape[1]), np.float32)
        head = (zeros[..., 0], zeros, zeros)
        return StepOutput(latent, taken.astype(np.float32), logit, batch.state, head)


@pytest.fixture
def paying() -> World:
    world = fake_world()
    return World(world.spec, Paying(), world.bank)  # type: ignore[arg-type]  # steps only


def at_zero(world: World) -> LocalClient:
    dream = LocalClient(world)
    dream.reset(session_id="a", seed=4, start={"latent": np.zeros(4, np.float32)})
    return dream


def test_a_policy_that_goes_on_earns_until_the_dream_ends(paying: World) -> None:
    dream, eager = at_zero(paying), ConstantPolicy(2)
    fields = {"horizon": 3, "policy": eager, "discount": 0.5}
    assert plan(dream, **fields).value == pytest.approx(sum(0.5**t for t in range(3)))
    longer = plan(dream, **fields, policy_steps=4)
    assert longer.value == pytest.approx(sum(0.5**t for t in range(7)))
    assert longer.actions.tolist() == [2, 2, 2]
    assert plan(dream, **{**fields, "discount": 1.0}, policy_steps=100).value == 9.0
    held = plan(dream, **fields, action_repeat=2, policy_steps=1)
    assert held.value == pytest.approx(sum(0.5**t for t in range(7)))


def test_a_policy_whose_scores_become_nan_after_all_plans_is_refused(paying: World) -> None:
    """It is the caller's; a world that computes NaN is the server's."""
    weights = np.zeros((3, 8), np.float32)
    weights[1, 0] = 3e38
    fails = LinearPolicy(weights, np.array([0, -np.inf, 1], np.float32))  # once it took 2 twice
    asked = {"policy": fails, "horizon": 2, "candidates": 9}
    assert plan(at_zero(paying), **asked, policy_steps=0).actions.tolist() == [2, 2]
    with pytest.raises(NotFiniteInputError, match="scores are NaN at step 1 after the actions"):
        plan(at_zero(paying), **asked, policy_steps=5)


class Strict(Paying):
    """Refuses a batch whose columns differ in length, as an ONNX graph does."""

    def step(self, batch: StepInput) -> StepOutput:
        assert len(batch.action) == len(batch.latent) == len(batch.noise)
        return super().step(batch)


@pytest.mark.parametrize("particles", [1, 3])
def test_a_random_policy_goes_on_with_the_same_actions_in_every_candidate(particles: int) -> None:
    world = fake_world()
    dream = at_zero(World(world.spec, Strict(), world.bank))  # type: ignore[arg-type]  # steps only
    asked = {"horizon": 1, "policy": "random", "policy_steps": 7, "particles": particles}
    values = [plan(dream, **asked, candidates=count, planner="cem").value for count in (1, 3)]
    assert values[1] - values[0] in (0, 1)  # all plans are tried, and one of them takes 2 first
    assert values[1] > 1


def test_a_policy_chooses_each_action_when_it_begins_and_holds_it(paying: World) -> None:
    weights = np.zeros((3, 8), np.float32)
    weights[2, 0] = -1  # takes 2 while it took it at most twice
    few = LinearPolicy(weights, np.array([0, -9, 2.5], np.float32))
    dream = at_zero(paying)
    assert plan(dream, policy=few).actions.tolist() == [2, 2, 2, 0, 0, 0]
    assert plan(dream, policy=few, action_repeat=2).actions.tolist() == [2, 2, 0, 0, 0, 0]


def test_what_a_policy_takes_afterwards_depends_on_each_dream() -> None:
    """A candidate is worth its own return and that of the policy from where it leads."""
    world, fields = fake_world(), {"policy": POLICY, "policy_steps": 8, "discount": 1.0}
    best = plan(dream_on(world), horizon=2, candidates=9, **fields)  # tries all plans
    values = []
    for actions in product(range(3), repeat=2):
        other = dream_on(world, temperature=0.0)
        total, ended = 0.0, False
        for action in actions:
            if not ended:
                step = other.step(session_id="a", action=action)
                total, ended = total + step.reward, step.terminated
        if not ended:
            asked = {"policy": POLICY, "episodes": 1, "max_steps": 8, "temperature": 0.0}
            total += float(other.rollout(session_id="a", **asked).returns[0, 0])
        values.append(total)
    assert len(set(np.round(values, 4))) > 1
    assert best.value == pytest.approx(max(values), rel=1e-5)


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"policy_steps": 3}, InvalidRequestError, "policy_steps: give the policy"),
        ({"policy": LinearPolicy(np.zeros((2, 3, 8)))}, InvalidRequestError, "a single policy"),
        ({"policy": LinearPolicy(np.zeros((3, 7)))}, InvalidRequestError, r"weights must be"),
        (
            {"policy": LinearPolicy(np.full((3, 8), np.nan))},
            NotFiniteInputError,
            "policy: its scores are NaN at action 1",
        ),
        (
            {"policy": POLICY, "policy_steps": 95},
            TooLargeError,
            r"action_repeat 1 \+ policy_steps 95 is a plan of 101 steps, the limit is 100",
        ),
        (
            {"policy": POLICY, "policy_steps": 90, "candidates": 50, "planner": "cem"},
            TooLargeError,
            "candidates 50 x iterations 1 x particles 1 x steps 96 is 4800 dreamt steps",
        ),
    ],
)
def test_a_policy_that_cannot_guide_is_refused(
    fields: dict[str, Any], error: type[Exception], says: str
) -> None:
    dream = dream_on(fake_world(), limits=Limits(plan_steps=100, dreamt_steps=4000))
    with pytest.raises(error, match=says):
        plan(dream, **fields)
