"""Checks on whole dreams: long ones stay finite, equal ones are equal, agents can run in them."""

import warnings

import numpy as np
from gymnasium.utils.env_checker import check_env

from dreamserve.engine.world import World
from dreamserve.local import DreamBatch
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.dreams.agents import DreamAgent
from dreamserve_training.dreams.environment import DreamEnvironment
from dreamserve_training.dreams.planner import DreamPlanner
from dreamserve_training.dreams.rollouts import DreamRollout
from dreamserve_training.validation.report import CheckFailed

DREAMS, STEPS = 32, 1000
LATENT_BOUND = 1e3  # latents are about 1 in size; beyond this a dream has diverged


def long_dreams(world: World) -> str:
    """Dreams of many random actions, their ends ignored, neither diverge nor go non-finite."""
    rng, largest = np.random.default_rng(0), 0.0
    for temperature in (1.0, 1.3):
        dreams = DreamBatch(world, np.arange(DREAMS, dtype=np.uint64), temperature)
        for step in range(STEPS):
            dreams.step(_random_actions(world, rng, DREAMS))
            reach = float(np.abs(dreams.latent).max())
            if not reach < LATENT_BOUND:
                raise CheckFailed(
                    f"at T {temperature} a latent is {reach:g} after {step + 1} steps"
                )
            largest = max(largest, reach)
    return f"{2 * DREAMS} dreams of {STEPS} steps at T 1 and 1.3, largest latent {largest:.1f}"


def same_dream(world: World) -> str:
    """A dream is the same to the bit alone and among others."""
    rng = np.random.default_rng(1)
    seeds = np.arange(64, dtype=np.uint64)
    among, alone = DreamBatch(world, seeds), DreamBatch(world, seeds[7:8])
    for step in range(50):
        actions = _random_actions(world, rng, len(seeds))
        together, by_itself = among.step(actions), alone.step(actions[7:8])
        same = among.latent[7].tobytes() == alone.latent[0].tobytes()
        if not same or together[0][7] != by_itself[0][0]:
            raise CheckFailed(f"a dream among 63 others differs from it alone at step {step + 1}")
    return "50 steps alone and among 63 others, bit for bit"


def environment(world: World) -> str:
    """Gymnasium's own checker passes, and agents can act and plan in the dream."""
    env = DreamEnvironment(world=world, max_episode_steps=100, render_mode="rgb_array")
    with warnings.catch_warnings():
        # latents have no bounds, and an environment made by hand has no spec to make another by
        for expected in (".*Box observation space m.*imum value.*", ".*not having a spec.*"):
            warnings.filterwarnings("ignore", expected)
        try:
            check_env(env)
        except AssertionError as error:
            raise CheckFailed(f"Gymnasium's checker: {error}") from error
    rollouts = DreamRollout.generate_rollouts(env, _random_agent(world), episodes=4, max_steps=100)
    mean = DreamRollout.summary(rollouts)["mean_length"]
    action, value = DreamPlanner(env).random_shooting(rollouts[0]["observations"][0], 10, 64)
    if not env.action_space.contains(np.asarray(action, env.action_space.dtype)):
        raise CheckFailed(f"the planner's action {action} is not in {env.action_space}")
    if not np.isfinite(value):
        raise CheckFailed(f"the planner's value is {value}")
    return f"Gymnasium's checker passes; 4 random dreams of {mean:.0f} steps on average; plans"


def _random_actions(world: World, rng: np.random.Generator, rows: int):  # type: ignore[no-untyped-def]  # int64 or float32
    space = world.spec.action_space
    if isinstance(space, DiscreteSpace):
        return rng.integers(space.n, size=rows)
    return rng.uniform(space.low, space.high, (rows, *space.shape)).astype(np.float32)


def _random_agent(world: World) -> DreamAgent:
    space = world.spec.action_space
    if isinstance(space, DiscreteSpace):
        return DreamAgent(space.n)
    return DreamAgent(len(space.low), discrete=False, low=space.low, high=space.high)
