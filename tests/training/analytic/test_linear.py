"""The linear-quadratic world: its values, its optimum, and how near planners come to it."""

import numpy as np
import pytest

from dreamserve.local import LocalClient
from dreamserve_protocol.common import Start
from dreamserve_training.evaluation.analytic import LinearQuadratic, numpy_world, random_system


def scalar(bound, **options):
    return LinearQuadratic([[1]], [[1]], [[1]], [[1]], [-bound], [bound], [[1]], **options)


def test_one_step_of_a_scalar_matches_the_hand_computed_value():
    free, bounded = scalar(10).best([1.0], 1), scalar(0.25).best([1.0], 1)
    assert (free.value, free.actions.item()) == pytest.approx((-0.5, -0.5))
    assert (bounded.value, bounded.actions.item()) == pytest.approx((-0.625, -0.25))


@pytest.mark.parametrize("bound", [10, 1, 0.25])
@pytest.mark.parametrize("horizon", [1, 12])
def test_no_neighbouring_sequence_is_better_than_the_optimum(bound, horizon):
    world = random_system(seed=1, bound=bound)
    best, rng = world.best(world.starts[0], horizon, discount=0.95), np.random.default_rng(0)
    assert (np.abs(best.actions) <= bound).all()
    assert best.value == world.value(world.starts[0], best.actions, discount=0.95)
    for size in (1e-3, 1e-1, 1.0):
        beside = best.actions + size * rng.standard_normal((2000, horizon, 2))
        values = world.value(world.starts[0], np.clip(beside, -bound, bound), discount=0.95)
        assert values.max() <= best.value + best.gap


def test_tighter_bounds_lower_the_optimal_value():
    values = [
        random_system(seed=3, bound=bound).best(np.ones(4), 20).value for bound in (10, 1, 0.25)
    ]
    assert values[0] > values[1] > values[2]


def test_the_engine_gives_planners_the_true_values(loaded, dreamt_values):
    analytic, world = loaded("linear")
    actions = np.random.default_rng(0).uniform(-1, 1, (700, 20, 2)).astype(np.float32)
    actions[0] = analytic.best(analytic.starts[2], 20, discount=0.97).actions
    dreamt = dreamt_values(world, actions, entry=2, discount=0.97)
    np.testing.assert_allclose(
        dreamt, analytic.value(analytic.starts[2], actions, discount=0.97), rtol=1e-5, atol=1e-5
    )
    assert dreamt.argmax() == 0


def test_the_mean_return_of_samples_matches_the_formula_at_any_temperature():
    analytic = random_system(seed=1, states=3, actions=1, bound=1, sigma=0.2)
    dream = LocalClient(numpy_world(analytic))
    actions = np.full((5, 1), 0.5, np.float32)
    for temperature in (0.0, 0.5, 2.0):
        futures = dream.sample(
            world="analytic",
            start=Start(bank=0),
            futures=4000,
            horizon=5,
            actions=actions,
            temperature=temperature,
            seed=7,
        )
        returns = futures.rewards.sum(axis=1)
        expected = analytic.value(analytic.starts[0], actions, temperature=temperature)
        error = 4 * returns.std() / np.sqrt(len(returns)) + 1e-5
        assert returns.mean() == pytest.approx(expected, abs=error)


def test_noise_costs_the_same_whatever_the_actions():
    calm, noisy = (random_system(seed=4, bound=0.5, sigma=sigma) for sigma in (0, 0.3))
    one, other = (world.best(np.ones(4), 10) for world in (calm, noisy))
    np.testing.assert_array_equal(one.actions, other.actions)
    assert other.value < one.value
    assert noisy.best(np.ones(4), 10, temperature=0).value == pytest.approx(one.value)


@pytest.mark.parametrize("name", ["linear", "linear-noisy"])
def test_cem_comes_close_to_the_optimum(loaded, name):
    analytic, world = loaded(name)
    dream = LocalClient(world)
    session = dream.reset(start=Start(bank=1), temperature=0.0, seed=0).session_id
    plan = dream.plan(
        session_id=session,
        planner="cem",
        horizon=8,
        candidates=500,
        iterations=12,
        discount=1.0,
        seed=0,
    )
    start = analytic.starts[1]
    best = analytic.best(start, 8, temperature=0)
    idle = analytic.value(start, np.zeros_like(plan.actions), temperature=0)
    assert plan.value == pytest.approx(analytic.value(start, plan.actions, temperature=0), abs=1e-5)
    assert -1e-5 <= best.value - plan.value < 0.02 * (best.value - idle)


@pytest.mark.parametrize(
    ("q", "r", "message"),
    [
        ([[-1]], [[1]], "q must be positive semidefinite"),
        ([[1]], [[1e-9]], "r positive definite"),  # what float16 makes of it is 0
    ],
)
def test_a_cost_without_an_optimum_is_refused(q, r, message):
    with pytest.raises(ValueError, match=message):
        LinearQuadratic([[1]], [[1]], q, r, [-1], [1], [[0]])


def test_a_cost_must_be_symmetric():
    with pytest.raises(ValueError, match="q must be symmetric"):
        LinearQuadratic(
            np.eye(2), np.eye(2), [[1, 1], [0, 1]], np.eye(2), [-1, -1], [1, 1], [[0, 0]]
        )
