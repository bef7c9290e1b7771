"""Planning on a torch device: values equal the engine's."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dreamserve import noise
from dreamserve.backends.fake import KINDS, SPACES, FakeBackend, fake_spec
from dreamserve.backends.torch_horizon import CHUNK_SIZE, discounted_returns
from dreamserve.engine.imagination.trajectories import RolloutStart
from dreamserve.engine.world import World
from dreamserve.spaces import ActionSpace


def present_of(tiny, rng: np.random.Generator) -> RolloutStart:
    spec = tiny.spec
    return RolloutStart(
        world=World(spec, tiny.host),
        latent=rng.standard_normal((1, spec.latent_size)).astype(np.float32),
        state=tuple(
            rng.standard_normal((1, *t.shape)).astype(np.float32) for t in spec.recurrent_state
        ),
        step=5,
        temperature=1.15,
    )


def plan_keys(present: RolloutStart, seeds: np.ndarray, horizon: int) -> np.ndarray:
    steps = [np.full(len(seeds), present.step + 1 + t) for t in range(horizon)]
    return np.stack([noise.keys(seeds, step, noise.PLAN) for step in steps], axis=1)


@pytest.fixture
def evaluated(outcomes):
    """Return the engine's values on plain rows, with shared seeds or not."""

    def values(present: RolloutStart, actions: np.ndarray, seeds: np.ndarray, discount: float):
        values, weight = np.zeros(len(actions)), 1.0
        for outcome in outcomes(present, actions, seeds):
            values += weight * outcome.reward.astype(np.float64)
            weight *= discount
        assert outcome.finite.all()
        return values

    return values


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("count", [1, 70, CHUNK_SIZE + 3])
def test_returns_equal_the_engines(tiny, evaluated, count: int, shared: bool) -> None:
    rng = np.random.default_rng(4)
    present, horizon = present_of(tiny, rng), 12
    actions = rng.integers(0, 3, (count, horizon))
    seeds = np.arange(7, 8 if shared else 7 + count, dtype=np.uint64)
    keys = plan_keys(present, seeds, horizon)
    values = tiny.device.returns(
        tiny.spec, present.latent, present.state, actions, keys, present.temperature, 0.97
    )
    expected = evaluated(present, actions, seeds, 0.97)
    assert values.dtype == np.float64
    tiny.same(values, expected)


@pytest.mark.parametrize("particles", [1, 3])
def test_candidates_are_worth_the_same_on_the_device(tiny, worth, particles: int) -> None:
    rng = np.random.default_rng(8)
    present = present_of(tiny, rng)
    on_device = replace(present, world=World(tiny.spec, tiny.device))
    actions = rng.integers(0, 3, (20, 6))
    fields = {"discount": 0.9, "particles": particles, "action_repeat": 2}
    values = worth(on_device, actions, 5, **fields)
    np.testing.assert_allclose(values, worth(present, actions, 5, **fields), rtol=1e-5, atol=1e-6)


def test_a_trajectory_ends_at_its_done_logit_and_counts_until_then(tiny, evaluated) -> None:
    rng = np.random.default_rng(5)
    mortal = tiny.spec.model_copy(
        update={"done": tiny.spec.done.model_copy(update={"threshold": -1.05})}
    )
    here = replace(tiny, spec=mortal)
    present, horizon = present_of(here, rng), 9
    actions = rng.integers(0, 3, (200, horizon))
    seeds = np.arange(200, dtype=np.uint64)
    expected = evaluated(present, actions, seeds, 0.9)
    endless = evaluated(present_of(tiny, np.random.default_rng(5)), actions, seeds, 0.9)
    assert (expected != endless).any()  # some end early
    keys = plan_keys(present, seeds, horizon)
    values = here.device.returns(mortal, present.latent, present.state, actions, keys, 1.15, 0.9)
    # a logit within the last bit of the threshold may fall on either side of it elsewhere
    near = np.isclose(values, expected, rtol=1e-4, atol=1e-5)
    assert near.mean() >= (1.0 if tiny.device.device.type == "cpu" else 0.98)
    here.same(values[near], expected[near])


@pytest.mark.parametrize("space", SPACES.values(), ids=list(SPACES))
def test_returns_of_actions_of_every_space_equal_the_engines(
    fake_device, evaluated, space: ActionSpace
) -> None:
    spec, rng = fake_spec(space=space), np.random.default_rng(5)
    state = (np.zeros((1, 3), np.float32), np.zeros(1, np.float32))
    start = RolloutStart(World(spec, FakeBackend(spec)), np.zeros((1, 4), np.float32), state, 0, 1)
    actions = space.uniform(rng.random((20, 6, *space.shape), np.float32))
    seeds = np.arange(20, dtype=np.uint64)
    values = fake_device(space=space).returns(
        spec, start.latent, state, actions, plan_keys(start, seeds, 6), 1.0, 0.97
    )
    np.testing.assert_allclose(values, evaluated(start, actions, seeds, 0.97), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_returns_in_every_kind_of_world_equal_the_engines(fake_device, evaluated, kind) -> None:
    spec, rng = fake_spec(**KINDS[kind]), np.random.default_rng(6)
    state = (np.zeros((1, 3), np.float32), np.zeros(1, np.float32))
    latent = np.array([[0.5, 0.1, -0.2, 0.3]], np.float32)
    start = RolloutStart(World(spec, FakeBackend(spec)), latent, state, 0, 1)
    actions, seeds = rng.integers(0, 3, (40, 8)), np.arange(40, dtype=np.uint64)
    keys = plan_keys(start, seeds, 8)
    values = fake_device(**KINDS[kind]).returns(spec, latent, state, actions, keys, 1.0, 0.97)
    np.testing.assert_allclose(values, evaluated(start, actions, seeds, 0.97), rtol=1e-6)


def test_a_trajectory_that_becomes_nan_before_its_end_is_worth_minus_infinity(fake_device) -> None:
    spec, backend = fake_spec(), fake_device(nan_action=2)
    actions = np.array([[1, 1, 1], [1, 2, 1], [1, 1, 2]])
    keys = np.arange(3, dtype=np.uint64)[None]
    state = (np.zeros((1, 3), np.float32), np.zeros(1, np.float32))

    def returns(first: float) -> list[bool]:
        latent = np.full((1, 4), first, np.float32)
        values = backend.returns(spec, latent, state, actions, keys, 0.0, 1.0)
        return np.isneginf(values).tolist()

    assert returns(0.0) == [False, True, True]
    assert returns(5.0) == [False, False, False]  # ended at once: what comes after does not count


def test_a_step_counts_if_the_trajectory_was_alive_before_it() -> None:
    rewards = torch.tensor([[1.0, 1.0, 1.0, 1.0]] * 3)
    done = torch.tensor([[-1.0, 1, -1, 1], [1, -1, -1, -1], [-1, -1, -1, -1]])
    finite = torch.ones(3, 4, dtype=torch.bool)
    finite[1, 1] = False  # dead by then
    finite[2, 2] = False  # alive
    rewards[2, 3] = np.nan  # dead by then
    weights = torch.tensor([1.0, 0.5, 0.25])
    values = discounted_returns(rewards, done > 0, finite, weights)
    assert values.tolist() == [1.5, 1.0, -np.inf, 1.0]
