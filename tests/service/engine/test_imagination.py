"""Samples and plans leave the session unchanged and are right."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.dynamics import start_from_bank
from dreamserve.engine.fake import fake_world
from dreamserve.engine.imagination.trajectories import RolloutStart
from dreamserve.engine.world import World
from dreamserve.local import DreamBatch, LocalClient
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    DreamEndedError,
    DreamNotFiniteError,
    DreamserveError,
    InvalidActionError,
    InvalidRequestError,
    SessionNotFoundError,
)
from dreamserve_protocol.plan import Objective
from dreamserve_protocol.step import StepResult

Same = Callable[[Any, Any], bool]
Worth = Callable[..., np.ndarray]


def dream_on(world: World, **options: Any) -> LocalClient:
    dream = LocalClient(world, **options)
    dream.reset(session_id="a", seed=4)
    dream.step(session_id="a", action=1)
    return dream


def test_a_sample_does_not_change_the_session(same: Same) -> None:
    looking, not_looking = dream_on(fake_world()), dream_on(fake_world())
    looking.sample(session_id="a", futures=10, horizon=5)
    looking.plan(session_id="a", horizon=5, candidates=20)
    assert same(looking.session("a"), not_looking.session("a"))
    one, other = (d.step(session_id="a", action=1) for d in (looking, not_looking))
    assert same(one, other)


def test_a_sample_follows_from_the_sessions_seed_and_step_or_from_its_own_seed(same: Same) -> None:
    dream = dream_on(fake_world())
    ask = {"session_id": "a", "futures": 6, "horizon": 3}
    first = dream.sample(**ask)
    assert same(dream.sample(**ask), first)
    assert same(dream.sample(**ask, seed=1), dream.sample(**ask, seed=1))
    assert not same(dream.sample(**ask, seed=1), first)
    dream.step(session_id="a", action=1)
    assert not same(dream.sample(**ask), first)


@pytest.mark.parametrize("slice_rows", [1, 3, 7, 100])
def test_slices_of_any_size_give_the_same_trajectories_and_plans(
    same: Same, slice_rows: int
) -> None:
    whole, sliced = dream_on(fake_world()), dream_on(fake_world(), slice_rows=slice_rows)
    ask = {"session_id": "a", "futures": 7, "horizon": 4, "include": ["frames"]}
    assert same(whole.sample(**ask), sliced.sample(**ask))
    ask = {"session_id": "a", "horizon": 4, "candidates": 16}
    assert same(whole.plan(**ask), sliced.plan(**ask))


def test_sampled_latents_have_the_worlds_mean_and_variance() -> None:
    dream = dream_on(fake_world())
    futures = dream.sample(session_id="a", futures=3000, horizon=1, actions=np.array([1]))
    expected = dream.step(session_id="a", action=1, include=["mixture"]).mixture
    weights, mu, sigma = (expected[name] for name in ("weights", "mu", "sigma"))
    mean = (weights[:, None] * mu).sum(axis=0)
    variance = (weights[:, None] * (sigma**2 + (mu - mean) ** 2)).sum(axis=0)
    drawn = futures.latents[:, 0]
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.006)
    np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.1)


def test_an_ended_trajectory_has_no_reward_and_stays_where_it_is() -> None:
    dream = LocalClient(fake_world())
    futures = dream.sample(
        world="fake", start=Start(latent=np.array([0.93, 0, 0, 0])), futures=50, horizon=8, seed=2
    )
    ended = futures.terminated
    assert ended[:, -1].any()
    assert (np.diff(ended.astype(int), axis=1) >= 0).all()
    for future in range(50):
        if ended[future].any():
            t = int(np.argmax(ended[future]))
            assert futures.rewards[future, t] != 0  # the step that ended it still counts
            assert not futures.rewards[future, t + 1 :].any()
            assert (futures.latents[future, t:] == futures.latents[future, t]).all()


def test_a_sample_may_start_anywhere(same: Same) -> None:
    dream = LocalClient(fake_world())
    frames = Start(frames=np.full((3, 8, 8, 3), 128, np.uint8), actions=np.array([1, 1]))
    for start in (Start(bank=2), Start(latent=np.zeros(4)), frames):
        ask = {"start": start, "world": "fake", "futures": 2, "horizon": 2, "seed": 9}
        assert same(dream.sample(**ask), dream.sample(**ask))
    assert dream.engine.session_count == 0


def test_frames_of_trajectories_are_returned_on_request() -> None:
    dream = dream_on(fake_world())
    ask = {"session_id": "a", "futures": 20, "horizon": 2}
    assert dream.sample(**ask).frames is None
    pictured = dream.sample(**ask, include=["frames"])
    assert (pictured.frames.shape, pictured.frames.dtype) == ((20, 2, 8, 8, 3), np.uint8)
    bands = pictured.frames[:, :, ::2, 0, 0] / 255 * 2 - 1
    np.testing.assert_allclose(bands, np.clip(pictured.latents, -1, 1), atol=1 / 127)


def test_a_trajectory_that_becomes_non_finite_is_named() -> None:
    dream = dream_on(fake_world(nan_action=0))
    actions = np.array([1, 1, 0])
    with pytest.raises(DreamNotFiniteError, match="future 0 is NaN or infinity at its step 3"):
        dream.sample(session_id="a", futures=4, horizon=3, actions=actions)
    assert dream.step(session_id="a", action=1).step == 2


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"futures": 0}, InvalidRequestError, "futures: .*greater than or equal to 1"),
        ({"horizon": 0}, InvalidRequestError, "horizon: .*greater than or equal to 1"),
        ({"actions": np.array([0, 3])}, InvalidActionError, "action 3 is not in Discrete"),
        ({"actions": np.array([0])}, InvalidRequestError, "horizon 2 needs as many actions, not 1"),
        ({"actions": np.zeros((2, 1))}, InvalidActionError, "must be integers of Discrete"),
        (
            {"actions": np.array([0, 1]), "policy": "random"},
            InvalidRequestError,
            "actions or policy, not both",
        ),
        ({"temperature": -1.0}, InvalidRequestError, "temperature: .*equal to 0"),
        ({"seed": -1}, InvalidRequestError, "seed: .*greater than or equal to 0"),
        ({"world": "fake"}, InvalidRequestError, "session_id, or world and start, not both"),
        ({"session_id": None}, InvalidRequestError, r"give session_id, or start \(and world\)"),
        ({"session_id": "b"}, SessionNotFoundError, "no session b"),
        (
            {"include": ["state"]},
            InvalidRequestError,
            "include.0: .*'frames', 'vectors', 'mixture'",
        ),
    ],
)
def test_a_sample_that_makes_no_sense_is_refused(
    fields: dict[str, Any], error: type[DreamserveError], message: str
) -> None:
    arguments = {"session_id": "a", "futures": 2, "horizon": 2, **fields}
    with pytest.raises(error, match=message):
        dream_on(fake_world()).sample(**arguments)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"planner": "guess"}, "planner: .*should be 'random_shooting', .* or 'mppi'"),
        ({"options": {"nose": 1}}, "cem has the options .*'momentum'.*, not .'nose'"),
        ({"options": {"momentum": 2}}, "momentum must be within 0 and 1"),
        ({"particles": 0}, "particles: .*equal to 1"),
        ({"action_repeat": 0}, "action_repeat: .*equal to 1"),
        ({"budget_ms": 0}, "budget_ms: .*equal to 1"),
        ({"objective": {"reward": 0}}, "no weight other than 0"),
        ({"objective": {}}, "no weight other than 0"),
        ({"objective": Objective(target=np.zeros(3))}, r"objective.target .* of shape \[4\]"),
        ({"objective": Objective(reward=1.1e6)}, "objective.reward: .*equal to 1000000"),
        ({"horizon": 0}, "horizon: .*equal to 1"),
        ({"candidates": 0}, "candidates: .*equal to 1"),
        ({"iterations": 0}, "iterations: .*equal to 1"),
        ({"discount": 1.01}, "discount: .*less than or equal to 1"),
        ({"temperature": -1.0}, "temperature: .*equal to 0"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        dream_on(fake_world()).plan(**{"session_id": "a", **fields})


def test_an_ended_dream_cannot_be_sampled_or_planned() -> None:
    dream = LocalClient(fake_world())
    dream.reset(session_id="a", start=Start(latent=np.array([2, 0, 0, 0])))
    dream.step(session_id="a", action=1)
    with pytest.raises(DreamEndedError, match=r"the dream ended at step .*; a reset"):
        dream.plan(session_id="a")
    with pytest.raises(DreamEndedError, match="the dream ended at step"):
        dream.sample(session_id="a", futures=1, horizon=1)


def value_of(world: World, sequence: tuple[int, ...], discount: float) -> float:
    """Return the value of a sequence, stepped one by one without noise."""
    dream = LocalClient(world)
    dream.reset(session_id="a", seed=4, temperature=0)
    value = 0.0
    for t, action in enumerate(sequence):
        answer: StepResult = dream.step(session_id="a", action=action)
        value += discount**t * answer.reward
        if answer.terminated:
            break
    return value


@pytest.mark.parametrize("planner", ["cem", "random_shooting"])
@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_planners_find_the_best_of_an_enumerable_tree(planner: Any, discount: float) -> None:
    world = fake_world()
    tree = {s: value_of(world, s, discount) for s in product(range(3), repeat=4)}
    dream = LocalClient(world)
    dream.reset(session_id="a", seed=4, temperature=0)
    plan = dream.plan(session_id="a", planner=planner, horizon=4, candidates=600, discount=discount)
    best = max(tree, key=tree.__getitem__)
    assert tuple(plan.actions) == best
    assert plan.action == best[0]
    assert plan.value == pytest.approx(tree[best], rel=1e-6)
    assert plan.value <= max(tree.values()) + 1e-6
    assert (plan.iterations, plan.evaluations, plan.cut_short) == (1, 81, False)


def test_cem_steers_a_box_world_to_its_goal_within_bounds() -> None:
    dream = LocalClient(fake_world(discrete=False))
    dream.reset(session_id="a", seed=4, temperature=0)
    plan = dream.plan(session_id="a", horizon=8, candidates=300, iterations=6, discount=1.0)
    assert plan.actions.shape == (8, 2)
    assert (np.abs(plan.actions) <= [1, 0.5]).all()
    assert plan.value > 8 - 0.6  # each step is worth at most 1
    np.testing.assert_array_equal(plan.action, plan.actions[0])


def test_a_planned_dream_outlives_a_random_one() -> None:
    dream = LocalClient(fake_world())
    dream.reset(session_id="a", seed=1)
    planned = sum(
        dream.step(
            session_id="a", action=dream.plan(session_id="a", horizon=6, candidates=40).action
        ).reward
        for _ in range(15)
    )
    batch = DreamBatch(fake_world(), range(64))
    generator = np.random.default_rng(0)
    random = sum(batch.step(generator.integers(0, 3, 64))[0].mean() for _ in range(15))
    assert planned > random + 1


def test_nan_never_wins_even_among_negative_values() -> None:
    dream = dream_on(fake_world(nan_action=2))
    dream.reset(session_id="a", seed=1, start=Start(latent=np.array([-0.6, 0, 0, 0])))
    for planner in ("cem", "random_shooting"):
        plan = dream.plan(session_id="a", planner=planner, horizon=2, candidates=60)
        assert 2 not in plan.actions
        assert plan.value < 0


def test_when_every_candidate_is_nan_the_plan_fails() -> None:
    dream = dream_on(fake_world(nan_action=0))
    dream.engine.worlds["fake"].backend._nan_action = 1
    with pytest.raises(DreamNotFiniteError, match="every candidate led to NaN"):
        dream.plan(session_id="a", planner="random_shooting", horizon=30, candidates=8)


def test_an_ended_candidate_gets_no_more_reward_and_cuts_no_other_short(worth: Worth) -> None:
    world = fake_world()
    latent, state = start_from_bank(world, np.array([1], np.uint64), np.array([15]))
    present = RolloutStart(world, latent, state, step=0, temperature=0.0)
    ends, lives = [2] * 12, [1] * 12
    together = worth(present, [ends, lives])
    np.testing.assert_array_equal(together, [*worth(present, [ends]), *worth(present, [lives])])
    assert together[0] < together[1]


def test_plans_are_the_same_for_the_same_seed_and_step(same: Same) -> None:
    plans = [dream_on(fake_world()).plan(session_id="a", horizon=9, seed=s) for s in (1, 1, 2)]
    assert same(plans[0], plans[1])
    assert not same(plans[0], plans[2])


def test_candidates_of_one_iteration_have_the_same_noise(worth: Worth) -> None:
    world = fake_world()
    latent, state = start_from_bank(world, np.array([1], np.uint64))
    present = RolloutStart(world, latent, state, step=0, temperature=1.0)
    actions = np.ones((5, 4), np.int64)
    values = [worth(present, actions, s, discount=0.9, slice_rows=2) for s in (7, 7, 8)]
    assert [len(set(one.tolist())) for one in values] == [1, 1, 1]
    assert values[0][0] == values[1][0] != values[2][0]
