"""The bank: moments of real episodes at which dreams begin, with M's state after all steps before.

A moment's age is the number of those steps. All moments may be beginnings, or of every age.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from dreamserve.archives import AGE
from dreamserve.bundle import Arrays
from dreamserve_training.data.checks import check_latent_episode
from dreamserve_training.data.episodes import (
    Episode,
    Folders,
    episode_paths,
    length_of,
    load_episode,
)
from dreamserve_training.models.world_model import WorldModel
from dreamserve_training.runs.options import AtLeastZero, Count, Options, Whole

Int64 = npt.NDArray[np.int64]

_FIELDS = ("mu", "logvar", "actions")
_BATCH_NUMBERS = 2**24  # latents' numbers that are in memory at once
_BATCH_EPISODES = 256


@dataclass(frozen=True)
class BankConfig(Options):
    """Which real moments a bundle holds. The file takes 2 bytes a number of each moment."""

    size: Count = 256  # moments of the bundle
    draft: Whole = 0  # moments of the draft, in whose dreams C learns; 0: as many as `size`
    beginnings: Annotated[float, Field(ge=0, le=1)] = 1.0  # share of them; the rest is of any age
    late: AtLeastZero = 0.0  # the rest is drawn in proportion to age ** late
    seed: Whole = 0


class _Moments(NamedTuple):
    """Moments to be filled in, a row of the bank each."""

    episode: Int64  # (N,) index into the paths
    age: Int64  # (N,)


def make_bank(
    memory: WorldModel,
    directory: Folders,
    size: int = 256,
    max_burn_in: int = 16,
    seed: int = 0,
    *,
    beginnings: float = 1.0,
    late: float = 0.0,
) -> Arrays:
    """Return `size` moments of the latent episodes in `directory`.

    The share `beginnings` of them is evenly spread over the episodes, each of the first
    `max_burn_in` + 1 steps. The others are drawn from all steps of all episodes, in proportion to
    age ** `late`: with 0 all steps alike, with 1 those of twice the age twice as often.

    Returns mu, logvar (N, Z), M's state, `state.NAME` (N, …), from the initial state and with the
    posteriors' means as latents, and `age` (N,). The arrays are float32; all but `age` have
    values rounded to float16, as a bundle stores them. Raises DataError for episodes that cannot be
    read or hold no posteriors.
    """
    rng = np.random.default_rng(seed)
    paths = episode_paths(directory)
    lengths = np.array([length_of(path, *_FIELDS) for path in paths])
    first = round(beginnings * size)
    parts = [
        _beginnings(rng, lengths, first, max_burn_in + 1),
        _any_age(rng, lengths, size - first, late),
    ]
    moments = _Moments(*map(np.concatenate, zip(*parts, strict=True)))
    spec = memory.spec()
    bank: Arrays = {name: np.empty((size, memory.z_dim), np.float32) for name in ("mu", "logvar")}
    for tensor in spec.recurrent_state:
        bank[f"state.{tensor.name}"] = np.empty((size, *tensor.shape), np.float32)
    model = deepcopy(memory).to("cuda" if torch.cuda.is_available() else "cpu")
    for episodes in _batches(moments, memory.z_dim):
        _fill(bank, model, paths, moments, episodes)
    halves = {name: array.astype(np.float16).astype(np.float32) for name, array in bank.items()}
    return {**halves, AGE: moments.age.astype(np.int64)}


def _beginnings(rng: np.random.Generator, lengths: Int64, count: int, youngest: int) -> _Moments:
    episode = np.arange(count) * len(lengths) // max(count, 1)
    ages = [int(rng.integers(min(youngest, lengths[i]))) for i in episode]
    return _Moments(episode, np.array(ages, np.int64))


def _any_age(rng: np.random.Generator, lengths: Int64, count: int, late: float) -> _Moments:
    """Draw steps of all episodes, evenly spread over the sum of their weights."""
    weights = np.arange(lengths.max()) ** float(late)
    if not weights.any():  # episodes of one step: their only age is 0
        weights[:] = 1.0
    upto = np.cumsum(weights)  # weight of the first steps
    ends = np.cumsum(upto[lengths - 1])
    drawn = (np.arange(count) + rng.random(count)) / max(count, 1) * ends[-1]
    episode = np.minimum(np.searchsorted(ends, drawn, side="right"), len(lengths) - 1)
    inside = drawn - (ends[episode] - upto[lengths[episode] - 1])
    age = np.searchsorted(upto, inside, side="right")
    return _Moments(episode, np.minimum(age, lengths[episode] - 1))


def _batches(moments: _Moments, z_dim: int) -> Iterator[Int64]:
    """Yield the episodes of the moments in batches, those that are needed longest first."""
    needed: dict[int, int] = {}
    for episode, age in zip(*map(np.ndarray.tolist, moments), strict=True):
        needed[episode] = max(age, needed.get(episode, 0))
    order = sorted(needed, key=lambda episode: -needed[episode])
    while order:
        steps = needed[order[0]] + 1
        rows = min(_BATCH_EPISODES, max(1, _BATCH_NUMBERS // (steps * z_dim)))
        yield np.array(order[:rows])
        order = order[rows:]


def _fill(
    bank: Arrays, memory: WorldModel, paths: list[Path], moments: _Moments, episodes: Int64
) -> None:
    """Fill in the rows of the moments of `episodes`, whose last moments are in falling order."""
    lane_of = {int(episode): lane for lane, episode in enumerate(episodes)}
    rows = np.flatnonzero(np.isin(moments.episode, episodes))
    ages, lanes = moments.age[rows], np.array([lane_of[i] for i in moments.episode[rows].tolist()])
    last = np.zeros(len(episodes), np.int64)
    np.maximum.at(last, lanes, ages)
    z = np.zeros((len(episodes), last[0] + 1, memory.z_dim), np.float32)
    taken = memory.action_input
    actions = np.zeros((len(episodes), last[0], *taken.shape), taken.dtype)
    for lane, end in enumerate(last):
        episode = _read(paths[episodes[lane]])
        z[lane, : end + 1] = episode["mu"][: end + 1]
        actions[lane, :end] = episode["actions"][:end]
        here = rows[lanes == lane]
        bank["logvar"][here] = episode["logvar"][moments.age[here]]
    bank["mu"][rows] = z[lanes, ages]
    names = [f"state.{tensor.name}" for tensor in memory.spec().recurrent_state]
    device = next(memory.parameters()).device
    acted = torch.from_numpy(actions).to(device)
    for age, state in _states(memory, torch.from_numpy(z).to(device), acted, last):
        now = np.flatnonzero(ages == age)
        if len(now):
            for name, part in zip(names, state, strict=True):
                bank[name][rows[now]] = part[lanes[now]].cpu().numpy()


def _read(path: Path) -> Episode:
    episode = load_episode(path, None)
    check_latent_episode(episode, path)
    return episode


@torch.inference_mode()
def _states(
    memory: WorldModel, z: Tensor, actions: Tensor, last: Int64
) -> Iterator[tuple[int, Any]]:
    """Yield each age and M's state before it; rows whose `last` (B,) age is past are left out."""
    state = memory.initial_state(len(z), z)
    for age in range(z.shape[1]):
        yield age, state
        rows = int((last > age).sum())
        if rows:
            kept = tuple(part[:rows] for part in state)
            state = memory.predict(z[:rows, age], actions[:rows, age], kept).state
