"""Rollouts: whole episodes of many policies, whose dreams end at different times.

As many episodes are in progress as a slice has rows. When one ends, the next one takes its row, so
world calls stay full. An episode equals the dream of a session with its seed, bit for bit,
whatever else is in the batch.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve import noise
from dreamserve.backends.base import Actions, Array, Bools, Int64, State
from dreamserve.engine.dynamics import Work, empty_state, starts
from dreamserve.engine.imagination.policy_runners import runner_of
from dreamserve.engine.imagination.trajectories import RolloutStart, StepOutcome, Trajectories
from dreamserve.engine.world import World
from dreamserve.manifest import WorldSpec
from dreamserve.noise import UInt64
from dreamserve.planning.base import pieces
from dreamserve_protocol.common import Start
from dreamserve_protocol.policies import AnyPolicy, policy_count
from dreamserve_protocol.rollout import RolloutResult, RolloutStatistics


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeStarts:
    """Starting points of the E episodes of every policy."""

    world: World
    latent: Array  # (E, Z)
    state: State  # (E, *shape) each
    seed: UInt64  # (E,)
    step: int
    temperature: float

    @classmethod
    def at(cls, start: RolloutStart, seed: UInt64) -> "EpisodeStarts":
        """Start all episodes at one state."""

        def shared(part: Array) -> Array:
            return np.broadcast_to(part, (len(seed), *part.shape[1:]))

        latent, state = shared(start.latent), tuple(map(shared, start.state))
        return cls(start.world, latent, state, seed, start.step, start.temperature)

    @classmethod
    def of(
        cls, world: World, given: Start | None, seed: UInt64, temperature: float, slice_rows: int
    ) -> Work["EpisodeStarts"]:
        """Start each episode as a reset with its seed does; `given` has been validated."""
        latent = np.empty((len(seed), world.spec.latent_size), np.float32)
        state = empty_state(world, len(seed))
        for first in range(0, len(seed), slice_rows):
            rows = slice(first, first + slice_rows)
            latent[rows], begun = yield from starts(world, given, seed[rows], temperature)
            for part, new in zip(state, begun, strict=True):
                part[rows] = new
            yield None
        return cls(world, latent, state, seed, 0, temperature)

    def trajectories(self, episode: Int64) -> Trajectories:
        """Begin the dreams of these episodes (B,)."""
        return Trajectories(
            self.world,
            self.latent[episode],
            tuple(part[episode] for part in self.state),
            self.seed[episode],
            np.full(len(episode), self.step, np.int64),
            np.full(len(episode), self.temperature, np.float32),
            noise.STEP,
        )

    def replace(self, trajectories: Trajectories, rows: Int64, episode: Int64) -> None:
        """Replace the dreams of `rows` (N,) by new ones, of these episodes (N,)."""
        state = tuple(part[episode] for part in self.state)
        step = np.full(len(rows), self.step, np.int64)
        trajectories.begin(rows, self.latent[episode], state, self.seed[episode], step)


class EpisodeLog:
    """Returns and lengths of N episodes, with their trajectories if requested."""

    def __init__(self, spec: WorldSpec, count: int, max_steps: int, trajectories: bool) -> None:
        self.returns, self.lengths = np.zeros(count, np.float64), np.zeros(count, np.int64)
        self.terminated, self.finite = np.zeros(count, np.bool_), np.ones(count, np.bool_)
        self.signals = spec.named_signals(np.zeros(count, np.float64) for _ in spec.signals)
        self._trajectories = trajectories
        if trajectories:
            self._latents = np.zeros((count, max_steps + 1, spec.latent_size), np.float32)
            self._rewards = np.zeros((count, max_steps), np.float32)
            self._actions: Actions = spec.action_space.zeros(count, max_steps)

    def begin(self, episode: Int64, latent: Array) -> None:
        """Record the first latents (B, Z) of these episodes (B,)."""
        if self._trajectories:
            self._latents[episode, 0] = latent

    def add(self, episode: Int64, action: Actions, outcome: StepOutcome, is_finite: Bools) -> None:
        """Record a step of these episodes (B,); an episode that is not finite is only marked."""
        if not is_finite.all():
            self.finite[episode[~is_finite]] = False
        if self._trajectories:
            rows, step = episode[is_finite], self.lengths[episode[is_finite]]
            self._latents[rows, step + 1] = outcome.latent[is_finite]
            self._rewards[rows, step] = outcome.reward[is_finite]
            self._actions[rows, step] = action[is_finite]
        self.returns[episode] += np.where(is_finite, outcome.reward, np.float32(0))
        for sums, part in zip(self.signals.values(), outcome.output.signals, strict=True):
            sums[episode] += np.where(is_finite & outcome.alive, part, np.float32(0))
        self.lengths[episode] += is_finite
        self.terminated[episode] = outcome.ended & is_finite

    def result(self, starting: EpisodeStarts, policies: int) -> Work[RolloutResult]:
        """Return the result of the rollout, with a row for each policy."""
        steps, episodes = int(self.lengths.max()), len(starting.seed)

        def by_policy(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return rows.reshape(policies, episodes, *rows.shape[1:])

        numbers = (self.returns, self.lengths, self.terminated, self.finite)
        returns, lengths, terminated, finite = map(by_policy, numbers)
        result = RolloutResult(
            world=starting.world.name,
            seeds=starting.seed.astype(np.int64),
            temperature=starting.temperature,
            returns=returns,
            lengths=lengths,
            terminated=terminated,
            finite=finite,
            signals={name: by_policy(sums) for name, sums in self.signals.items()} or None,
            statistics=(yield from statistics(returns, lengths, terminated, finite)),
        )
        if not self._trajectories:
            return result
        return replace(
            result,
            latents=by_policy((yield from _first_steps(self._latents, steps + 1))),
            actions=by_policy((yield from _first_steps(self._actions, steps))),
            rewards=by_policy((yield from _first_steps(self._rewards, steps))),
        )


def _first_steps(rows: npt.NDArray[Any], steps: int) -> Work[npt.NDArray[Any]]:
    """Return the first steps of trajectories (N, T, …), contiguous, copied piece by piece."""
    if steps == rows.shape[1]:
        return rows
    copied = np.empty((len(rows), steps, *rows.shape[2:]), rows.dtype)
    for some in pieces(len(rows), prod(copied.shape[1:])):
        if some.start:
            yield None
        copied[some] = rows[some, :steps]
    return copied


def roll_out(
    starting: EpisodeStarts,
    policy: AnyPolicy,
    max_steps: int,
    keep_trajectories: bool,
    slice_rows: int,
) -> Work[RolloutResult]:
    """Return the episodes of all policies. Raises what `policy_runners.runner_of` raises."""
    per_policy, policies = len(starting.seed), policy_count(policy)
    count = policies * per_policy
    log = EpisodeLog(starting.world.spec, count, max_steps, keep_trajectories)
    episode = np.arange(min(slice_rows, count))  # (B,) the episode of each row, policy by policy
    begun = len(episode)  # number of episodes that have begun
    runner = runner_of(starting.world, policy, len(episode))
    trajectories = starting.trajectories(episode % per_policy)
    runner.assign(slice(None), episode // per_policy)
    log.begin(episode, trajectories.latent)
    while len(episode):
        action, is_valid = runner.act(trajectories)
        outcome = yield from trajectories.advance(action)
        assert outcome is not None  # there is no deadline
        is_finite = outcome.finite & is_valid
        log.add(episode, action, outcome, is_finite)
        ended = outcome.ended | ~is_finite | (log.lengths[episode] == max_steps)
        if not ended.any():
            continue
        rows = np.flatnonzero(ended)[: count - begun]
        if len(rows):
            new = np.arange(begun, begun + len(rows))
            begun += len(rows)
            starting.replace(trajectories, rows, new % per_policy)
            runner.assign(rows, new // per_policy)
            log.begin(new, trajectories.latent[rows])
            episode[rows], ended[rows] = new, False
        if ended.any():
            trajectories.keep(~ended)
            runner.keep(~ended)
            episode = episode[~ended]
    return (yield from log.result(starting, policies))


def statistics(
    returns: npt.NDArray[np.float64], lengths: Int64, terminated: Bools, finite: Bools
) -> Work[RolloutStatistics]:
    """Return each policy's statistics, (P,) each, over its finite episodes among (P, E)."""
    parts: list[dict[str, npt.NDArray[Any]]] = []
    for some in pieces(*returns.shape):
        if some.start:
            yield None
        parts.append(_statistics(returns[some], lengths[some], terminated[some], finite[some]))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return RolloutStatistics(**columns)


def _statistics(
    returns: npt.NDArray[np.float64], lengths: Int64, terminated: Bools, finite: Bools
) -> dict[str, npt.NDArray[Any]]:
    """Return the statistics by name; a policy without finite episodes has NaN for all but one."""
    episodes = finite.sum(axis=1)

    def mean(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            means: npt.NDArray[np.float64] = np.where(finite, values, 0).sum(axis=1) / episodes
        return means

    def deviation(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        squares = mean(np.square(values - mean(values)[:, None]))
        spread: npt.NDArray[np.float64] = np.sqrt(squares * episodes / np.maximum(episodes - 1, 1))
        return spread

    none = episodes == 0
    least = np.where(finite, returns, np.inf).min(axis=1)
    most = np.where(finite, returns, -np.inf).max(axis=1)
    return {
        "episodes": episodes,
        "mean_return": mean(returns),
        "std_return": deviation(returns),
        "min_return": np.where(none, np.nan, least),
        "max_return": np.where(none, np.nan, most),
        "mean_length": mean(lengths),
        "std_length": deviation(lengths),
        "share_terminated": mean(terminated),
    }
