"""Sequences for M's training. An item of T steps is a dict of tensors:

z         (T, Z) float32     latents
actions   (T,) or (T, A) int64, or (T, A) float32, taken in z
next_z    (T, Z) float32     the next latents; zeros after an episode's last step
rewards   (T,) float32       rewards of the actions
done      (T,) float32       1 if the action ended the episode, else 0
mask      (T,) bool          whether the step counts: false on context and padding
next_mask (T,) bool          mask, and false where there is no next latent
start     () bool            whether the item starts at its episode's first step
signals   (T, S) float32     if there are any: `signals.Signal.values`; NaN is not known
episode   () int64           of windows: the number of the episode's file
"""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dreamserve.spaces import Space
from dreamserve_training.data.actions import as_actions, check_actions
from dreamserve_training.data.checks import check_latent_episode
from dreamserve_training.data.digests import Digest
from dreamserve_training.data.episodes import DataError, Episode

Item = dict[str, Tensor]


class SequenceDataset(Dataset[Item]):
    """Whole sequences of any length, held in memory.

    `z` is a list of arrays (T, Z), `actions` of (T,) or (T, A), `rewards` and `done` of (T,),
    default zeros, `signals` of (T, S), default none. Raises DataError, a ValueError which names the
    sequence, for different lengths and for numbers that cannot be trained on. For data that does
    not fit in memory use `create_window_loader`.
    """

    def __init__(
        self,
        z: Sequence[npt.ArrayLike],
        actions: Sequence[npt.ArrayLike],
        rewards: Sequence[npt.ArrayLike] | None = None,
        done: Sequence[npt.ArrayLike] | None = None,
        signals: Sequence[npt.ArrayLike] | None = None,
    ) -> None:
        if not len(z):
            raise ValueError("at least one sequence is needed")
        parts = {"actions": actions, "rewards": rewards, "done": done, "signals": signals}
        for name, part in parts.items():
            if part is not None and len(part) != len(z):
                raise ValueError(f"{len(z)} sequences of z but {len(part)} of {name}")
        self._items = [
            make_item(
                np.asarray(z[i], np.float32),
                np.asarray(actions[i]),
                None if rewards is None else np.asarray(rewards[i]),
                None if done is None else np.asarray(done[i]),
                None if signals is None else np.asarray(signals[i], np.float32),
                where=f"sequence {i}",
            )
            for i in range(len(z))
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        return self._items[index]

    def digest(self) -> Digest:
        """Return what identifies the sequences."""
        digest = sha256()
        for item in self._items:
            for name, tensor in item.items():
                digest.update(f"{name} {tuple(tensor.shape)}".encode())
                digest.update(tensor.numpy().tobytes())
        return {"sequences": len(self), "sha256": digest.hexdigest()}

    def places(self, indices: list[int]) -> list[str]:
        """Return the name of each sequence of `indices`."""
        return [f"sequence {index}" for index in indices]

    @property
    def signals(self) -> range:
        """The indices of the signals."""
        return range(self._items[0]["signals"].shape[1] if "signals" in self._items[0] else 0)

    def check(self, space: Space, z_dim: int) -> None:
        """Raise DataError, which names the sequence, for what a model cannot be trained on."""
        for number, item in enumerate(self._items):
            where = f"sequence {number}"
            if item["z"].shape[1] != z_dim:
                shape = tuple(item["z"].shape)
                raise DataError(f"{where}: z is {shape}, the model takes (T, {z_dim})")
            check_actions(item["actions"].numpy(), space, where)


def make_item(
    z: npt.NDArray[np.float32],
    actions: npt.NDArray[np.generic],
    rewards: npt.NDArray[np.generic] | None,
    done: npt.NDArray[np.generic] | None,
    signals: npt.NDArray[np.float32] | None,
    where: str,
) -> Item:
    """Return one whole sequence as an item; DataError, which names `where`, if invalid."""
    zeros = np.zeros(z.shape[:1])
    rewards, done = (zeros if given is None else given for given in (rewards, done))
    lengths = {array.shape[:1] for array in (z, actions, rewards, done)}
    if z.ndim != 2 or len(lengths) != 1 or not len(z):
        raise DataError(
            f"{where}: z must be (T, Z) and the others (T, …) with the same T > 0;"
            f" got {z.shape}, {actions.shape}, {rewards.shape}, {done.shape}"
        )
    steps = {"actions": actions, "rewards": rewards, "terminated": done}
    check_latent_episode({"z": z, **steps}, where)
    if signals is not None:
        if signals.ndim != 2 or len(signals) != len(z):
            raise DataError(f"{where}: signals must be ({len(z)}, S), not {signals.shape}")
        steps["signals"] = signals
    return as_item(z, steps, mask=np.ones(len(z), np.bool_), start=True)


def as_item(
    z: npt.NDArray[np.float32], steps: Episode, mask: npt.NDArray[np.bool_], start: bool
) -> Item:
    """Return the item of T steps; `z` is (T, Z), or (T + 1, Z) with the latent after them.

    `steps` holds actions, rewards, terminated and, if there are any, signals.
    """
    length = len(mask)
    has_next = np.arange(length) < len(z) - 1
    next_z = np.zeros_like(z[:length])
    next_z[: len(z) - 1] = z[1:]
    arrays = {
        "z": z[:length],
        "actions": as_actions(steps["actions"]),
        "next_z": next_z,
        "rewards": steps["rewards"].astype(np.float32),
        "done": steps["terminated"].astype(np.float32),
        "mask": mask,
        "next_mask": mask & has_next,
    }
    if "signals" in steps:
        arrays["signals"] = steps["signals"].astype(np.float32)
    item = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return {**item, "start": torch.tensor(start)}
