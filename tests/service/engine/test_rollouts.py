"""Rollouts: an episode equals its session's dream in any batch, and NaN affects only its row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.fake import SPACES
from dreamserve.engine.fake import fake_world
from dreamserve.engine.world import World
from dreamserve.local import LocalClient
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    DreamEndedError,
    DreamserveError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
    SessionNotFoundError,
    WorldNotFoundError,
)
from dreamserve_protocol.policies import (
    AnyPolicy,
    BundledPolicy,
    ConstantPolicy,
    LinearPolicy,
    RandomPolicy,
)
from dreamserve_protocol.rollout import RolloutRequest, RolloutResult

Same = Callable[[Any, Any], bool]
WHOLE = ["trajectories"]
STEPS = 12
FRAMES = np.random.default_rng(1).integers(0, 255, (3, 8, 8, 3)).astype(np.uint8)
FEATURES = 8  # of the fake worlds: 4 + 3 + 1


def linear(world: World, policies: int, scale: float = 1.0) -> LinearPolicy:
    """Return linear policies with random weights over latent and state."""
    spec = world.spec
    actions = spec.action_space.width
    sizes = [spec.latent_size, *(int(np.prod(t.shape)) for t in spec.recurrent_state)]
    generator = np.random.default_rng(2)
    weights = scale * generator.standard_normal((policies, actions, sum(sizes)))
    return LinearPolicy(weights, generator.standard_normal((policies, actions)))


def replayed(world: World, rolled: RolloutResult, p: int, e: int, start: Start | None) -> None:
    """Compare one episode with a session of its seed, stepped with its actions."""
    dream, length = LocalClient(world), int(rolled.lengths[p, e])
    first = dream.reset(
        session_id="a", seed=int(rolled.seeds[e]), temperature=rolled.temperature, start=start
    )
    np.testing.assert_array_equal(rolled.latents[p, e, 0], first.latent)
    answers = [dream.step(session_id="a", action=rolled.actions[p, e, t]) for t in range(length)]
    for t, answer in enumerate(answers):
        np.testing.assert_array_equal(rolled.latents[p, e, t + 1], answer.latent)
        assert rolled.rewards[p, e, t] == answer.reward
    assert [a.terminated for a in answers] == [False] * (length - 1) + [rolled.terminated[p, e]]
    assert rolled.returns[p, e] == sum(a.reward for a in answers)


def test_an_episode_is_the_dream_of_a_session_with_its_seed(any_world: World) -> None:
    rolled = LocalClient(any_world, slice_rows=5).rollout(
        policy=linear(any_world, 3),
        episodes=4,
        max_steps=STEPS,
        seed=9,
        temperature=1.2,
        include=WHOLE,
    )
    assert rolled.returns.shape == (3, 4)
    for p in range(3):
        for e in range(4):
            replayed(any_world, rolled, p, e, None)


@pytest.mark.parametrize(
    "start",
    [Start(bank=3), Start(latent=np.zeros(4)), Start(frames=FRAMES, actions=np.array([1, 0]))],
)
def test_episodes_begin_where_a_reset_would(start: Start) -> None:
    rolled = LocalClient(fake_world(), slice_rows=3).rollout(
        policy=RandomPolicy(), seeds=np.arange(5), max_steps=STEPS, start=start, include=WHOLE
    )
    for e in range(5):
        replayed(fake_world(), rolled, 0, e, start)


def test_a_sessions_episode_continues_it_without_changing_it() -> None:
    dream = LocalClient(fake_world())
    dream.reset(session_id="a", seed=4, temperature=0.7)
    dream.step(session_id="a", action=1)
    rolled = dream.rollout(
        session_id="a", policy=ConstantPolicy(2), seeds=[4, 5], max_steps=6, include=WHOLE
    )
    assert dream.session("a").step == 1
    assert rolled.temperature == dream.session("a").temperature
    for t in range(rolled.lengths[0, 0]):
        answer = dream.step(session_id="a", action=2)
        np.testing.assert_array_equal(rolled.latents[0, 0, t + 1], answer.latent)
    assert not np.array_equal(rolled.latents[0, 0], rolled.latents[0, 1])


@pytest.mark.parametrize("slice_rows", [1, 3, 7, 64])
@pytest.mark.parametrize("kind", ["random", "linear"])
def test_episodes_are_the_same_however_many_share_a_call(
    any_world: World, same: Same, slice_rows: int, kind: str
) -> None:
    policy = RandomPolicy() if kind == "random" else linear(any_world, 4)
    ask = {"policy": policy, "episodes": 6, "max_steps": STEPS, "seed": 3, "include": WHOLE}
    whole = LocalClient(any_world, slice_rows=1000).rollout(**ask)
    assert same(LocalClient(any_world, slice_rows=slice_rows).rollout(**ask), whole)


def test_a_policy_has_the_same_returns_among_others_as_alone(any_world: World) -> None:
    many = linear(any_world, 5)
    ask = {"seeds": [3, 1, 4], "max_steps": STEPS}
    together = LocalClient(any_world).rollout(policy=many, **ask)
    for p in range(5):
        alone = LinearPolicy(many.weights[p], many.bias[p])
        returns = LocalClient(any_world).rollout(policy=alone, **ask).returns
        np.testing.assert_array_equal(returns[0], together.returns[p])


def test_rollouts_that_share_calls_equal_those_run_alone(same: Same) -> None:
    dream, ask = LocalClient(fake_world(), slice_rows=16), {"episodes": 6, "max_steps": 9}
    alone = [dream.rollout(policy=RandomPolicy(), seed=seed, **ask) for seed in range(3)]
    futures = [
        dream.engine.submit(RolloutRequest(policy=RandomPolicy(), seed=seed, **ask))
        for seed in range(3)
    ]
    while not all(future.done() for future in futures):
        dream.engine.turn()
    assert all(same(f.result(0), one) for f, one in zip(futures, alone, strict=True))


def test_all_policies_have_the_same_episodes_which_the_seed_selects(same: Same) -> None:
    dream = LocalClient(fake_world())
    twice = LinearPolicy(np.ones((2, 3, FEATURES)))
    ask = {"policy": twice, "episodes": 5, "max_steps": 20}
    rolled = dream.rollout(**ask, seed=1)
    np.testing.assert_array_equal(rolled.returns[0], rolled.returns[1])
    assert len(set(rolled.returns[0])) > 1
    assert same(dream.rollout(**ask, seed=1), rolled)
    assert not same(dream.rollout(**ask, seed=2), rolled)
    seeded = {**ask, "episodes": None, "seeds": rolled.seeds}
    assert same(dream.rollout(**seeded), rolled)


def test_a_step_past_the_last_is_not_taken_and_what_lies_beyond_an_end_is_zero() -> None:
    rolled = LocalClient(fake_world()).rollout(
        policy=ConstantPolicy(2), episodes=30, max_steps=6, seed=1, include=WHOLE
    )
    assert rolled.lengths.max() == 6
    assert rolled.lengths.min() < 6
    assert rolled.terminated[rolled.lengths < 6].all()
    assert rolled.latents.shape == (1, 30, 7, 4)
    beyond = np.arange(6) >= rolled.lengths[..., None]
    assert not rolled.rewards[beyond].any()
    assert not rolled.actions[beyond].any()
    assert not rolled.latents[:, :, 1:][beyond].any()
    np.testing.assert_allclose(rolled.rewards.sum(axis=2, dtype=np.float64), rolled.returns)


def test_an_episode_that_becomes_nan_is_marked_and_affects_no_other(same: Same) -> None:
    weights = np.zeros((3, 3, FEATURES))
    bias = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]])  # forth, which is NaN here; stay; back
    ask = {"policy": LinearPolicy(weights, bias), "episodes": 4, "max_steps": 8, "seed": 2}
    rolled = LocalClient(fake_world(nan_action=2), slice_rows=5).rollout(**ask, include=WHOLE)
    assert rolled.finite.tolist() == [[False] * 4, [True] * 4, [True] * 4]
    assert not rolled.lengths[0].any()
    assert not rolled.returns[0].any()
    assert np.isfinite(rolled.latents).all()
    whole = LocalClient(fake_world()).rollout(**ask)
    np.testing.assert_array_equal(rolled.returns[1:], whole.returns[1:])
    assert rolled.statistics.episodes.tolist() == [0, 4, 4]
    assert np.isnan(rolled.statistics.mean_return).tolist() == [True, False, False]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_weights_that_give_nan_fail_only_their_own_episodes(space: str, bad: float) -> None:
    world = fake_world(space=SPACES[space])
    policy = linear(world, 3)
    policy.weights[1] = bad * np.where(np.arange(FEATURES) % 2, 1, -1)
    rolled = LocalClient(world, slice_rows=4).rollout(
        policy=policy, episodes=3, max_steps=9, seed=1
    )
    assert rolled.finite[[0, 2]].all()
    if np.isnan(bad):
        assert not rolled.finite[1].any()
        assert not rolled.lengths[1].any()
    good = LinearPolicy(policy.weights[[0, 2]], policy.bias[[0, 2]])
    alone = LocalClient(world).rollout(policy=good, episodes=3, max_steps=9, seed=1)
    np.testing.assert_array_equal(rolled.returns[[0, 2]], alone.returns)


@pytest.mark.parametrize("space", SPACES)
def test_trajectories_of_episodes_that_took_no_step_are_empty(space: str) -> None:
    world = fake_world(space=SPACES[space])
    policy = linear(world, 2)
    policy.weights[:] = np.nan
    rolled = LocalClient(world).rollout(policy=policy, episodes=3, max_steps=4, include=WHOLE)
    assert not rolled.lengths.any()
    assert not rolled.finite.any()
    assert rolled.latents.shape == (2, 3, 1, 4)
    assert rolled.rewards.shape == rolled.actions.shape[:3] == (2, 3, 0)


def test_statistics_are_of_the_finite_episodes() -> None:
    rolled = LocalClient(fake_world()).rollout(
        policy=linear(fake_world(), 4), episodes=9, max_steps=20, seed=1
    )
    found = rolled.statistics
    for p in range(4):
        returns, lengths = rolled.returns[p], rolled.lengths[p]
        assert found.episodes[p] == 9
        assert found.mean_return[p] == pytest.approx(returns.mean())
        assert found.std_return[p] == pytest.approx(returns.std(ddof=1))
        assert (found.min_return[p], found.max_return[p]) == (returns.min(), returns.max())
        assert found.mean_length[p] == pytest.approx(lengths.mean())
        assert found.std_length[p] == pytest.approx(lengths.std(ddof=1), abs=1e-9)
        assert found.share_terminated[p] == pytest.approx(rolled.terminated[p].mean())
    single = LocalClient(fake_world()).rollout(policy=RandomPolicy(), episodes=1, max_steps=3)
    assert single.statistics.std_return.tolist() == [0.0]


def test_the_bundled_policy_is_the_worlds_controller(tiny_bundle: Any) -> None:
    dream = LocalClient(tiny_bundle)
    ask = {"episodes": 4, "max_steps": 10, "seed": 1}
    controller = dream.world.controller
    spelt = LinearPolicy(controller["weights"], controller["bias"], ("latent", "h"))
    np.testing.assert_array_equal(
        dream.rollout(policy=BundledPolicy(), **ask).returns,
        dream.rollout(policy=spelt, **ask).returns,
    )


W = np.zeros((3, FEATURES))
BAD: list[tuple[dict[str, Any], type[DreamserveError], str]] = [
    ({"episodes": 0}, InvalidRequestError, "episodes: .*greater than or equal to 1"),
    ({"episodes": None}, InvalidRequestError, "exactly one of episodes and seeds"),
    ({"max_steps": 0}, InvalidRequestError, "max_steps: .*greater than or equal to 1"),
    ({"seeds": [1, 2, 3]}, InvalidRequestError, "exactly one of episodes and seeds"),
    ({"seeds": [1], "episodes": None, "seed": 1}, InvalidRequestError, "seed or seeds, not both"),
    ({"seeds": [], "episodes": None}, InvalidRequestError, "at least one seed"),
    (
        {"seeds": [1.5], "episodes": None},
        InvalidRequestError,
        "seeds: must be .* and dtype float64",
    ),
    ({"seeds": [-1], "episodes": None}, InvalidRequestError, "seeds must be within"),
    ({"temperature": -1.0}, InvalidRequestError, "temperature: .*equal to 0"),
    ({"world": "mars"}, WorldNotFoundError, "no world 'mars'"),
    ({"session_id": "b"}, SessionNotFoundError, "no session b"),
    ({"session_id": "a", "world": "fake"}, InvalidRequestError, "or world and start, not both"),
    ({"include": ["frame"]}, InvalidRequestError, "include.0: .*'trajectories'"),
    ({"policy": ConstantPolicy(3)}, InvalidActionError, "action 3 is not in"),
    ({"policy": BundledPolicy()}, InvalidRequestError, "fake has no bundled controller"),
    ({"policy": LinearPolicy(W[:2])}, InvalidRequestError, r"weights must be \[3, 8\]"),
    (
        {"policy": {"kind": "linear", "weights": W, "bias": np.zeros(2)}},
        InvalidRequestError,
        r"need a bias of shape \[3\], not \[2\]",
    ),
    ({"policy": LinearPolicy(W, inputs=())}, InvalidRequestError, "inputs: .*at least 1 item"),
    (
        {"policy": "brilliant"},
        InvalidRequestError,
        "policy: kind must be one of random, constant, linear",
    ),
    ({"policy": LinearPolicy(W, inputs=("h",))}, InvalidRequestError, "inputs must be some of"),
    ({"policy": LinearPolicy(W, inputs=("latent",))}, InvalidRequestError, r"\[3, 4\]"),
    ({"start": Start(latent=np.full(4, np.nan))}, NotFiniteInputError, "start.latent: element"),
]


@pytest.mark.parametrize(("fields", "error", "message"), BAD)
def test_a_rollout_that_makes_no_sense_is_refused(
    fields: dict[str, Any], error: type[DreamserveError], message: str
) -> None:
    arguments = {"policy": RandomPolicy(), "episodes": 3, "max_steps": 2, **fields}
    dream = LocalClient(fake_world())
    dream.reset(session_id="a")
    with pytest.raises(error, match=message):
        dream.rollout(**arguments)


def test_an_ended_session_has_no_episodes() -> None:
    dream = LocalClient(fake_world())
    dream.reset(session_id="a", start=Start(latent=np.array([2, 0, 0, 0])))
    dream.step(session_id="a", action=1)
    with pytest.raises(DreamEndedError, match="the dream ended at step"):
        dream.rollout(session_id="a", policy=RandomPolicy(), episodes=1, max_steps=1)


@pytest.mark.parametrize(
    "policy", [RandomPolicy(), ConstantPolicy(2), LinearPolicy(np.ones((3, FEATURES)))]
)
def test_a_sample_acts_by_the_same_policies(same: Same, policy: AnyPolicy) -> None:
    arguments = {"start": Start(bank=2), "futures": 7, "horizon": 5, "seed": 9}
    whole = LocalClient(fake_world()).sample(**arguments, policy=policy)
    assert same(LocalClient(fake_world(), slice_rows=3).sample(**arguments, policy=policy), whole)
    if isinstance(policy, ConstantPolicy):
        assert same(LocalClient(fake_world()).sample(**arguments, actions=np.full(5, 2)), whole)
    if isinstance(policy, RandomPolicy):
        assert same(LocalClient(fake_world()).sample(**arguments), whole)


def test_a_sample_takes_one_policy() -> None:
    arguments = {"start": Start(bank=2), "futures": 7, "horizon": 5}
    with pytest.raises(InvalidRequestError, match="give a single policy, not 2"):
        LocalClient(fake_world()).sample(
            **arguments, policy=LinearPolicy(np.ones((2, 3, FEATURES)))
        )


def test_includes_of_a_sample_use_the_actions_of_its_first_trajectory(same: Same) -> None:
    include = ["most_likely", "components"]
    arguments = {"start": Start(bank=2), "futures": 3, "horizon": 5, "seed": 9}
    arguments |= {"include": include}
    by_policy = LocalClient(fake_world()).sample(**arguments, policy=ConstantPolicy(2))
    assert same(LocalClient(fake_world()).sample(**arguments, actions=np.full(5, 2)), by_policy)


def test_a_trajectory_whose_policy_gives_nan_is_named() -> None:
    arguments = {"start": Start(bank=2), "futures": 3, "horizon": 5, "seed": 1}
    for weight in (np.nan, 3e38):
        policy = LinearPolicy(np.full((3, FEATURES), weight))
        with pytest.raises(NotFiniteInputError, match=r"policy: .* at step . of future 0"):
            LocalClient(fake_world()).sample(**arguments, policy=policy)
