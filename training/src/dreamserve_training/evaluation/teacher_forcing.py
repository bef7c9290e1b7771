"""Teacher forcing: each step takes the real latent of an episode and predicts the next one.

All episodes advance together, one batch per step, on the backend that serves the world.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dreamserve.backends.base import Array, Backend, StepInput
from dreamserve.engine.pixels import to_numbers
from dreamserve.engine.world import World
from dreamserve.manifest import WorldSpec
from dreamserve.spaces import Space
from dreamserve_training.data.actions import as_actions
from dreamserve_training.data.checks import check_latent_episode
from dreamserve_training.data.episodes import (
    DataError,
    Episode,
    Folders,
    episode_paths,
    load_episode,
)
from dreamserve_training.data.signals import Signals, check_recorded, signal_values
from dreamserve_training.models.mixture import Mixture, mixture_log_prob

State = tuple[Array, ...]


@dataclass(frozen=True, eq=False)
class LatentEpisode:
    """A real episode of T steps, encoded by V; aligned as in `data.episodes`."""

    mu: Array  # (T, Z)
    logvar: Array  # (T, Z)
    actions: npt.NDArray[np.int64] | Array  # (T,) or (T, A)
    rewards: Array  # (T,)
    terminated: npt.NDArray[np.bool_]  # (T,)
    signals: Mapping[str, Array] = field(default_factory=dict)  # name → (T,), NaN: unknown


@dataclass(frozen=True, eq=False)
class TeacherForced:
    """The world's predictions along one episode, given one z drawn from each posterior."""

    episode: LatentEpisode
    nll: npt.NDArray[np.float64]  # (T - 1,), of the next latent, in nats per latent dimension
    reward: Array  # (T,)
    done_logit: Array  # (T,)
    states: dict[int, State]  # step → M's state before it, every `keep_every` steps
    signals: tuple[Array, ...] = ()  # (T,) each, in the manifest's order


def load_latents(
    directory: Folders, limit: int | None = None, signals: Signals | None = None
) -> list[LatentEpisode]:
    """Return the first `limit` (default: all) latent episodes of `directory`, with `signals`.

    Raises DataError for files that are invalid, that hold z instead of posteriors (mu and logvar),
    or that lack a signal's number.
    """
    return [load_latent(path, signals) for path in episode_paths(directory)[:limit]]


def load_latent(path: Path, signals: Signals | None = None) -> LatentEpisode:
    """Return the latent episode in the file `path`; DataError as for `load_latents`."""
    stored = load_episode(path)
    check_latent_episode(stored, path)
    if "mu" not in stored:
        raise DataError(f"{path}: holds z, but measuring needs mu and logvar")
    posterior = stored["mu"].astype(np.float32), stored["logvar"].astype(np.float32)
    return _latent_episode(posterior, stored, signals or {}, path)


def encode_episode(world: World, raw: Episode, signals: Signals, where: object) -> LatentEpisode:
    """Return a raw episode of T steps, encoded by the V of `world`, with `signals`.

    DataError, which names `where`, if a signal's number is not recorded.
    """
    observed = raw["frames"] if "frames" in raw else raw["vectors"]
    posterior = world.backend.encode(to_numbers(world.spec.observation, observed))
    return _latent_episode(posterior, raw, signals, where)


def _latent_episode(
    posterior: tuple[Array, ...], columns: Episode, signals: Signals, where: object
) -> LatentEpisode:
    check_recorded(signals, set(columns), where)
    values = signal_values(signals, columns, where).T if signals else ()
    mu, logvar = posterior
    return LatentEpisode(
        mu=mu,
        logvar=logvar,
        actions=as_actions(columns["actions"]),
        rewards=columns["rewards"].astype(np.float32),
        terminated=columns["terminated"].astype(np.bool_),
        signals=dict(zip(signals, values, strict=True)),
    )


def teacher_force(
    backend: Backend,
    spec: WorldSpec,
    episodes: Sequence[LatentEpisode],
    keep_every: int = 0,
    seed: int = 0,
) -> list[TeacherForced]:
    """Run the world along `episodes` from the initial state; results are in the same order.

    With `keep_every` > 0 the state before every `keep_every`-th step, except step 0, is kept.
    """
    rng, space = np.random.default_rng(seed), spec.action_space
    episodes = [_for(space, each) for each in episodes]
    order = sorted(range(len(episodes)), key=lambda i: -len(episodes[i].mu))
    drawn = [_draw(episode, rng) for episode in episodes]
    signals = len(spec.signals)
    recorders = [_Recorder(len(episode.mu), keep_every, signals) for episode in episodes]
    state = zero_state(spec, len(episodes))
    for step in range(max((len(z) for z in drawn), default=0)):
        order = [i for i in order if len(drawn[i]) > step]  # sorted: the longest come first
        state = tuple(part[: len(order)] for part in state)
        for row, i in enumerate(order):
            recorders[i].remember(step, state, row)
        batch = StepInput(
            latent=np.stack([drawn[i][step] for i in order]),
            action=np.stack([episodes[i].actions[step] for i in order]),
            state=state,
            temperature=np.ones(len(order), np.float32),
            noise=np.full((len(order), spec.noise.normal + spec.noise.uniform), 0.5, np.float32),
        )
        output = backend.step(batch)
        following = np.stack([drawn[i][min(step + 1, len(drawn[i]) - 1)] for i in order])
        nll = negative_log_likelihood(output.head, following)
        for row, i in enumerate(order):
            numbers = output.reward[row], output.done_logit[row]
            recorders[i].add(step, nll[row], *numbers, [part[row] for part in output.signals])
        state = output.state
    return [recorder.result(episode) for recorder, episode in zip(recorders, episodes, strict=True)]


def _for(space: Space, episode: LatentEpisode) -> LatentEpisode:
    """Return the episode with actions of the dtype that a world of `space` takes."""
    actions = as_actions(episode.actions, space)
    return episode if actions.dtype == episode.actions.dtype else replace(episode, actions=actions)


def negative_log_likelihood(parts: Sequence[Array], latent: Array) -> npt.NDArray[np.float64]:
    """Return -log p (B,) of `latent` (B, Z), float64, in nats per latent dimension.

    `parts` are a mixture's logits, mu and log_sigma in the manifest's shapes.
    """
    mixture = Mixture(*(torch.from_numpy(part).double() for part in parts))
    log_prob = mixture_log_prob(mixture, torch.from_numpy(latent).double())
    nll: npt.NDArray[np.float64] = (-log_prob / latent.shape[1]).numpy()
    return nll


def zero_state(spec: WorldSpec, rows: int) -> State:
    """Return M's initial state for `rows` dreams."""
    return tuple(np.zeros((rows, *part.shape), np.float32) for part in spec.recurrent_state)


def states_at(spec: WorldSpec, moments: Sequence[tuple[TeacherForced, int]]) -> State:
    """Return M's states (N, …) before steps at which they were kept; before step 0 the initial."""
    state = zero_state(spec, len(moments))
    for row, (run, at) in enumerate(moments):
        if at > 0:
            for part, kept in zip(state, run.states[at], strict=True):
                part[row] = kept
    return state


def _draw(episode: LatentEpisode, rng: np.random.Generator) -> Array:
    noise = rng.standard_normal(episode.mu.shape, np.float32)
    drawn: Array = episode.mu + np.exp(0.5 * episode.logvar) * noise
    return drawn


class _Recorder:
    """Collects the predictions along one episode."""

    def __init__(self, steps: int, keep_every: int, signals: int) -> None:
        self.keep_every = keep_every
        self.nll = np.zeros(steps, np.float64)
        self.reward, self.done_logit = np.zeros(steps, np.float32), np.zeros(steps, np.float32)
        self.signals = np.zeros((signals, steps), np.float32)
        self.states: dict[int, State] = {}

    def remember(self, step: int, state: State, row: int) -> None:
        if self.keep_every and step and step % self.keep_every == 0:
            self.states[step] = tuple(part[row].copy() for part in state)

    def add(
        self, step: int, nll: float, reward: float, done_logit: float, signals: Sequence[float]
    ) -> None:
        self.nll[step], self.reward[step], self.done_logit[step] = nll, reward, done_logit
        self.signals[:, step] = signals

    def result(self, episode: LatentEpisode) -> TeacherForced:
        # the last step has no next latent, so no likelihood
        return TeacherForced(
            episode,
            self.nll[:-1],
            self.reward,
            self.done_logit,
            self.states,
            tuple(self.signals),
        )
