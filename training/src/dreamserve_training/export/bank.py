"""The bank: real starting points, each with the memory of the real steps before it."""

from pathlib import Path

import numpy as np
import torch

from dreamserve.bundle import Arrays
from dreamserve_training.data.checks import check_latent_episode
from dreamserve_training.data.episodes import DataError, episode_paths, load_episode
from dreamserve_training.export.errors import ExportError
from dreamserve_training.models.recurrent import MDNRNN

_FIELDS = ("mu", "logvar", "actions")
_HALF_ROUNDING = 1e-2


def make_bank(
    mdnrnn: MDNRNN,
    directory: str | Path,
    size: int = 256,
    max_burn_in: int = 16,
    seed: int = 0,
) -> Arrays:
    """Return `size` starting points from the latent episodes of `directory`.

    Each is a frame within the first `max_burn_in` + 1 of an episode (episodes spread evenly over
    the directory): mu, logvar (N, Z), and state.h, state.c (N, R), the memory after the real steps
    before it, seeing the posterior's mean, from zero at the first frame. All rounded to float16,
    as a bundle stores them. Raises DataError for episodes that cannot be read.
    """
    rng = np.random.default_rng(seed)
    paths = episode_paths(directory)
    chosen = [paths[i * len(paths) // size] for i in range(size)]
    z = np.zeros((size, max_burn_in + 1, mdnrnn.z_dim), np.float32)
    logvar = np.zeros((size, mdnrnn.z_dim), np.float32)
    shape = () if mdnrnn.discrete_actions else (mdnrnn.action_dim,)
    kind = np.int64 if mdnrnn.discrete_actions else np.float32
    actions = np.zeros((size, max_burn_in, *shape), kind)
    at = np.zeros(size, np.int64)
    for row, path in enumerate(chosen):
        episode = load_episode(path)
        check_latent_episode(episode, path)
        if missing := [name for name in _FIELDS if name not in episode]:
            raise DataError(f"{path}: lacks {', '.join(missing)}; a bank starts from posteriors")
        at[row] = step = rng.integers(min(max_burn_in + 1, len(episode["mu"])))
        z[row, : step + 1] = episode["mu"][: step + 1]
        logvar[row] = episode["logvar"][step]
        actions[row, :step] = episode["actions"][:step]
    h, c = _burn_in(mdnrnn, torch.from_numpy(z), torch.from_numpy(actions), torch.from_numpy(at))
    rows = {"mu": z[np.arange(size), at], "logvar": logvar, "state.h": h, "state.c": c}
    return {name: array.astype(np.float16).astype(np.float32) for name, array in rows.items()}


@torch.inference_mode()
def _burn_in(
    mdnrnn: MDNRNN, z: torch.Tensor, actions: torch.Tensor, at: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    h, c = mdnrnn.initial_state(len(z), z)
    for step in range(actions.shape[1]):
        _, _, _, (next_h, next_c) = mdnrnn(
            z[:, step : step + 1], actions[:, step : step + 1], (h, c)
        )
        before = (step < at)[:, None]
        h, c = torch.where(before, next_h, h), torch.where(before, next_c, c)
    return h.numpy(), c.numpy()


def check_memory(bank: Arrays) -> None:
    """Raise ExportError where no LSTM can have left these states: h = o · tanh(c), 0 < o < 1.

    That is how h and c given in each other's place are found out.
    """
    h, c = bank["state.h"], bank["state.c"]
    if (np.abs(h) > np.tanh(np.abs(c)) + _HALF_ROUNDING).any():
        raise ExportError("bank: |h| exceeds tanh|c|: are state.h and state.c swapped?")
