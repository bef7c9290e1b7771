"""What the collected episodes tell: which rewards there are, and whether episodes end."""

import logging
from dataclasses import dataclass

import numpy as np

from dreamserve_training.data.episodes import episode_paths, load_episode
from dreamserve_training.recipe import ResolvedRecipe
from dreamserve_training.workspace import Workspace

logger = logging.getLogger("dreamserve_training")


@dataclass(frozen=True)
class Experience:
    """What the collected episodes tell."""

    constant_reward: float | None  # of every step, if all are equal
    ends: bool  # whether any episode terminates
    # over all steps of the first pass, so that an iteration's M goes on from the M before it; of
    # all passes, if the first one's rewards are all equal
    reward_mean: float
    reward_std: float


def experience_of(recipe: ResolvedRecipe, workspace: Workspace) -> Experience:
    """Return what M has to predict: rewards, unless all are equal, and ends, if there are any."""
    passes, ends = [], False
    for folder in workspace.all_episodes("train"):
        rewards = []
        for path in episode_paths(folder):
            episode = load_episode(path, ("rewards", "terminated"))
            rewards.append(episode["rewards"].astype(np.float64))
            ends = ends or bool(episode["terminated"].any())
        passes.append(np.concatenate(rewards))
    all_rewards = np.concatenate(passes)
    scaled = passes[0] if passes[0].min() < passes[0].max() else all_rewards
    constant = recipe.constant_reward
    if constant is None and all_rewards.min() == all_rewards.max():
        constant = float(all_rewards[0])
    if constant == 0.0:
        logger.warning("every reward is 0: nothing distinguishes good actions from bad ones")
    return Experience(constant, ends, float(scaled.mean()), float(scaled.std()))
