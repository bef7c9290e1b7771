"""Policies compute their documented actions, each row as if alone."""

import numpy as np
import pytest

from dreamserve import noise
from dreamserve.backends.fake import SPACES
from dreamserve.engine.fake import fake_world
from dreamserve.engine.imagination.policy_runners import PolicyRunner, linear_scores, runner_of
from dreamserve.engine.imagination.trajectories import Trajectories
from dreamserve.engine.world import World
from dreamserve.spaces import ActionSpace, BoxSpace
from dreamserve_protocol.policies import ConstantPolicy, LinearPolicy, RandomPolicy

ROWS = 97


def trajectories_of(world: World, rows: slice) -> Trajectories:
    generator = np.random.default_rng(5)
    latent = 2 * generator.standard_normal((ROWS, 4)).astype(np.float32)
    memory = generator.standard_normal((ROWS, 3)).astype(np.float32)
    count = generator.standard_normal(ROWS).astype(np.float32)
    seed, step = np.arange(ROWS, dtype=np.uint64), np.arange(ROWS) % 7
    temperature = np.ones(ROWS, np.float32)
    state = (memory[rows], count[rows])
    columns = (seed[rows], step[rows], temperature[rows])
    return Trajectories(world, latent[rows], state, *columns, noise.STEP)


def policies(world: World) -> LinearPolicy:
    generator = np.random.default_rng(6)
    shape = (ROWS, world.spec.action_space.width, 8)
    return LinearPolicy(generator.standard_normal(shape), generator.standard_normal(shape[:2]))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", ["random", "linear"])
@pytest.mark.parametrize("size", [1, 2, 3, 16, 33])
def test_a_row_acts_the_same_in_any_batch(space: str, kind: str, size: int) -> None:
    world = fake_world(space=SPACES[space])
    policy = RandomPolicy() if kind == "random" else policies(world)

    def act(rows: slice) -> np.ndarray:
        trajectories, runner = (
            trajectories_of(world, rows),
            runner_of(world, policy, rows.stop - rows.start),
        )
        runner.assign(slice(None), np.arange(rows.start, rows.stop))
        return runner.act(trajectories)[0]

    whole = act(slice(0, ROWS))
    for first in range(0, ROWS - size + 1, 5):
        np.testing.assert_array_equal(act(slice(first, first + size)), whole[first : first + size])


@pytest.mark.parametrize("features", [1, 2, 7, 32, 288, 545])
@pytest.mark.parametrize("actions", [1, 2, 3, 5])
def test_scores_do_not_depend_on_the_number_of_rows(features: int, actions: int) -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((300, features)).astype(np.float32)
    weights = generator.standard_normal((300, actions, features)).astype(np.float32)
    bias = generator.standard_normal((300, actions)).astype(np.float32)
    whole = linear_scores(x, weights, bias)
    np.testing.assert_allclose(
        whole, np.einsum("bf,baf->ba", x.astype(float), weights) + bias, rtol=1e-3, atol=1e-3
    )
    for size in (1, 2, 5, 64, 255):
        for first in (0, 1, 7):
            rows = slice(first, first + size)
            np.testing.assert_array_equal(
                linear_scores(x[rows], weights[rows], bias[rows]), whole[rows]
            )


@pytest.mark.parametrize("space", SPACES.values(), ids=list(SPACES))
def test_random_actions_are_uniform_and_follow_from_seed_and_step(space: ActionSpace) -> None:
    world = fake_world(space=space)
    runner, trajectories = (
        runner_of(world, RandomPolicy(), ROWS),
        trajectories_of(world, slice(0, ROWS)),
    )
    drawn = []
    for step in range(100):
        trajectories.step = np.full(ROWS, step)
        drawn.append(runner.act(trajectories)[0])
    trajectories.step = np.full(ROWS, 3)
    np.testing.assert_array_equal(runner.act(trajectories)[0], drawn[3])
    every = np.concatenate(drawn)
    columns = every.reshape(len(every), -1).T
    for choices, column in zip(space.choice_counts, columns, strict=False):  # none are a Box's
        np.testing.assert_allclose(np.bincount(column) / len(every), 1 / choices, atol=0.02)
    if isinstance(space, BoxSpace):
        low, high = space.bounds
        assert ((low <= every) & (every <= high)).all()
        shares = (every - low) / (high - low)
        np.testing.assert_allclose(shares.mean(axis=0), 1 / 2, atol=0.02)
        np.testing.assert_allclose(shares.std(axis=0), 1 / 12**0.5, rtol=0.02)


def acts(runner: PolicyRunner, world: World) -> np.ndarray:
    return runner.act(trajectories_of(world, slice(0, 1)))[0]


def test_the_action_has_the_largest_score_and_among_equals_is_the_first() -> None:
    world, weights = fake_world(), np.zeros((3, 8))
    for bias, best in (([0, 2, 1], 1), ([1, 0, 1], 0)):
        runner = runner_of(world, LinearPolicy(weights, np.array(bias)), 1)
        assert acts(runner, world).tolist() == [best]


def test_scores_of_a_box_are_brought_between_its_bounds_by_tanh() -> None:
    world, weights = fake_world(discrete=False), np.zeros((2, 8))
    for score in (-1e9, -0.7, 0.0, 0.7, 1e9):
        runner = runner_of(world, LinearPolicy(weights, np.array([score, score])), 1)
        expected = np.tanh(score) * np.array([1.0, 0.5])
        np.testing.assert_allclose(acts(runner, world)[0], expected, atol=1e-6)


def test_each_component_has_its_own_best_choice_or_is_1_if_its_score_is_positive() -> None:
    for name, scores, expected in (
        ("MultiDiscrete", [0, 2, 1, *(1, 1), *(0, 0, 0, 3, 0), *(-2, -1)], [1, 0, 3, 1]),
        ("MultiBinary", [-1, 0, 1e-9], [0, 0, 1]),
    ):
        world = fake_world(space=SPACES[name])
        policy = LinearPolicy(np.zeros((len(scores), 8)), np.array(scores))
        assert acts(runner_of(world, policy, 1), world).tolist() == [expected]


def test_inputs_are_read_in_the_order_given() -> None:
    world, trajectories = fake_world(), trajectories_of(fake_world(), slice(0, ROWS))
    weights = np.zeros((3, 4))
    weights[0, 0], weights[1, 1] = 1, 1  # n against the first of the memory
    runner = runner_of(world, LinearPolicy(weights, np.array([0, 0, -9]), ("n", "memory")), ROWS)
    memory, count = trajectories.state
    np.testing.assert_array_equal(runner.act(trajectories)[0], memory[:, 0] > count)


def test_a_constant_action_is_taken_by_every_row() -> None:
    for discrete, action in ((True, 2), (False, [0.5, 0.25])):
        world = fake_world(discrete=discrete)
        actions, is_finite = runner_of(world, ConstantPolicy(action), ROWS).act(
            trajectories_of(world, slice(0, ROWS))
        )
        np.testing.assert_array_equal(actions, np.broadcast_to(action, actions.shape))
        assert is_finite.all()
