"""Rollouts of a memory model alone, without V or a bundle."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dreamserve.local import DreamBatch
from dreamserve_training.dreams.worlds import world_from_models
from dreamserve_training.models.vae import ConvVAE
from dreamserve_training.models.world_model import WorldModel

Float32 = npt.NDArray[np.float32]
Actions = npt.NDArray[np.int64] | Float32


class ModelRollout(NamedTuple):
    """B dreams of H steps. After a dream's end its rewards are 0 and its latents meaningless."""

    latents: Float32  # (B, H, Z) z_1 … z_H
    actions: Actions  # (B, H) or (B, H, A)
    rewards: Float32  # (B, H)
    terminated: npt.NDArray[np.bool_]  # (B, H), true from the dream's last step on


def rollout_in_dream(
    model: WorldModel,
    initial_z: npt.ArrayLike | torch.Tensor,
    policy: Callable[[Float32], npt.ArrayLike] | npt.ArrayLike,
    horizon: int,
    *,
    temperature: float = 1.0,
    deterministic: bool = False,
    seed: int = 0,
) -> ModelRollout:
    """Dream `horizon` steps from each latent of `initial_z` (B, Z) and the initial state.

    `policy` maps latents (B, Z) to actions (B, …), or is an array of actions (B, H, …).
    `deterministic` equals T = 0: the mean of the most likely component. Without a reward head
    every step earns 1. Raises ValueError if the shape of `initial_z` does not fit.
    """
    start = np.atleast_2d(np.asarray(initial_z, np.float32))
    if start.ndim != 2 or start.shape[1] != model.z_dim:
        raise ValueError(f"initial_z must be (B, {model.z_dim}), not {start.shape}")
    # The engine's world needs a V, but no frame is encoded or decoded here.
    world = world_from_models(ConvVAE(model.z_dim), model)
    seeds = seed * len(start) + np.arange(len(start), dtype=np.uint64)
    dreams = DreamBatch(world, seeds, 0.0 if deterministic else temperature, starts=start)
    ended = np.zeros(len(start), np.bool_)
    steps = []
    for t in range(horizon):
        chosen = policy(dreams.latent) if callable(policy) else np.asarray(policy)[:, t]
        action = np.asarray(chosen, model.action_input.dtype)
        reward, terminated = dreams.step(action)
        reward = np.where(ended, np.float32(0), reward)
        ended = ended | terminated
        steps.append((dreams.latent.copy(), action, reward, ended))
    return ModelRollout(*(np.stack(part, axis=1) for part in zip(*steps, strict=True)))
