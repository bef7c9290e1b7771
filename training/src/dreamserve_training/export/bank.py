"""The bank: starting points from real episodes, with M's state after the preceding steps."""

import numpy as np
import torch
from torch import Tensor

from dreamserve.bundle import Arrays
from dreamserve_training.data.checks import check_latent_episode
from dreamserve_training.data.episodes import DataError, Folders, episode_paths, load_episode
from dreamserve_training.models.world_model import State, WorldModel

_FIELDS = ("mu", "logvar", "actions")


def make_bank(
    memory: WorldModel,
    directory: Folders,
    size: int = 256,
    max_burn_in: int = 16,
    seed: int = 0,
) -> Arrays:
    """Return `size` starting points from the latent episodes in `directory`, evenly spread.

    Each is one of the first `max_burn_in` + 1 frames of an episode: mu, logvar (N, Z), and M's
    state, `state.NAME` (N, …), after the steps before that frame, from the initial state and with
    the posteriors' means as latents. The arrays are float32 with values rounded to float16, as a
    bundle stores them. Raises DataError for episodes that cannot be read or hold no posteriors.
    """
    rng = np.random.default_rng(seed)
    paths = episode_paths(directory)
    chosen = [paths[i * len(paths) // size] for i in range(size)]
    z = np.zeros((size, max_burn_in + 1, memory.z_dim), np.float32)
    logvar = np.zeros((size, memory.z_dim), np.float32)
    taken = memory.action_input
    actions = np.zeros((size, max_burn_in, *taken.shape), taken.dtype)
    steps = np.zeros(size, np.int64)
    for row, path in enumerate(chosen):
        episode = load_episode(path)
        check_latent_episode(episode, path)
        if missing := [name for name in _FIELDS if name not in episode]:
            raise DataError(f"{path}: lacks {', '.join(missing)}, which a bank needs")
        steps[row] = step = rng.integers(min(max_burn_in + 1, len(episode["mu"])))
        z[row, : step + 1] = episode["mu"][: step + 1]
        logvar[row] = episode["logvar"][step]
        actions[row, :step] = episode["actions"][:step]
    state = _burn_in(memory, *map(torch.from_numpy, (z, actions, steps)))
    rows = {"mu": z[np.arange(size), steps], "logvar": logvar}
    for tensor, part in zip(memory.spec().recurrent_state, state, strict=True):
        rows[f"state.{tensor.name}"] = part.numpy()
    return {name: array.astype(np.float16).astype(np.float32) for name, array in rows.items()}


@torch.inference_mode()
def _burn_in(memory: WorldModel, z: Tensor, actions: Tensor, steps: Tensor) -> State:
    """Return the state after the first `steps` (N,) steps of each row of z (N, T + 1, Z)."""
    state = memory.initial_state(len(z), z)
    for step in range(actions.shape[1]):
        following = memory.predict(z[:, step], actions[:, step], state).state
        state = tuple(
            torch.where((step < steps).view(-1, *[1] * (old.ndim - 1)), new, old)
            for new, old in zip(following, state, strict=True)
        )
    return state
