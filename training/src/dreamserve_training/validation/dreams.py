"""Checks of whole dreams: stability, independence of the batch, the Gymnasium interface."""

import warnings

import numpy as np
from gymnasium.utils.env_checker import check_env

from dreamserve.engine.world import World
from dreamserve.local import DreamBatch
from dreamserve.spaces import Actions
from dreamserve_training.dreams.agents import DreamAgent
from dreamserve_training.dreams.environment import DreamEnvironment, shows_frames
from dreamserve_training.dreams.planner import DreamPlanner
from dreamserve_training.dreams.rollouts import DreamRollout
from dreamserve_training.validation.report import CheckFailed

DREAMS, STEPS = 32, 1000
LATENT_BOUND = 1e3  # latents are of order 1; beyond this bound a dream has diverged


def long_dreams(world: World) -> str:
    """Check that long dreams under random actions stay finite and bounded; ends are ignored."""
    rng, largest = np.random.default_rng(0), 0.0
    for temperature in (1.0, 1.3):
        dreams = DreamBatch(world, np.arange(DREAMS, dtype=np.uint64), temperature)
        for step in range(STEPS):
            dreams.step(_random_actions(world, rng, DREAMS))
            magnitude = float(np.abs(dreams.latent).max())
            if not magnitude < LATENT_BOUND:
                raise CheckFailed(
                    f"at T = {temperature} a latent is {magnitude:g} after {step + 1} steps"
                )
            largest = max(largest, magnitude)
    return f"{2 * DREAMS} dreams of {STEPS} steps at T = 1 and 1.3; largest latent {largest:.1f}"


def independent_dreams(world: World) -> str:
    """Check that a dream is bit-identical alone and in a batch with others."""
    rng = np.random.default_rng(1)
    seeds = np.arange(64, dtype=np.uint64)
    batch, single = DreamBatch(world, seeds), DreamBatch(world, seeds[7:8])
    for step in range(50):
        actions = _random_actions(world, rng, len(seeds))
        (rewards, _), (reward, _) = batch.step(actions), single.step(actions[7:8])
        is_same = batch.latent[7].tobytes() == single.latent[0].tobytes()
        if not is_same or rewards[7] != reward[0]:
            raise CheckFailed(f"a dream alone and among 63 others differs at step {step + 1}")
    return "bit-identical alone and among 63 others for 50 steps"


def environment(world: World) -> str:
    """Check the environment by Gymnasium's `check_env`, by random rollouts and by a plan."""
    mode = "rgb_array" if shows_frames(world.spec) else None
    env = DreamEnvironment(world=world, max_episode_steps=100, render_mode=mode)
    with warnings.catch_warnings():
        # latents are unbounded, and the environment is not registered, so it has no spec
        for expected in (".*Box observation space m.*imum value.*", ".*not having a spec.*"):
            warnings.filterwarnings("ignore", expected)
        try:
            check_env(env)
        except AssertionError as error:
            raise CheckFailed(f"Gymnasium's check_env: {error}") from error
    rollouts = DreamRollout.generate_rollouts(env, _random_agent(world), episodes=4, max_steps=100)
    mean = DreamRollout.summary(rollouts)["mean_length"]
    env.reset(seed=0)
    action, value = DreamPlanner(env).random_shooting(horizon=10, num_candidates=64)
    if not env.action_space.contains(np.asarray(action, env.action_space.dtype)):
        raise CheckFailed(f"the planned action {action} is not in {env.action_space}")
    if not np.isfinite(value):
        raise CheckFailed(f"the plan's value is {value}")
    return f"check_env and a plan; 4 random rollouts, {mean:.0f} steps on average"


def _random_actions(world: World, rng: np.random.Generator, rows: int) -> Actions:
    space = world.spec.action_space
    return space.uniform(rng.random((rows, *space.shape), np.float32))


def _random_agent(world: World) -> DreamAgent:
    return DreamAgent(space=world.spec.action_space)
