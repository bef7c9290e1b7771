"""Rollouts: whole episodes of many policies, whose dreams end at different times.

As many episodes are in progress as a slice has rows. When one ends, the next one takes its row, so
world calls stay full. An episode equals the dream of a session with its seed, bit for bit,
whatever else is in the batch.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve import noise
from dreamserve.backends.base import Actions, Array, Bools, Int64, State
from dreamserve.engine.dynamics import Work, starts
from dreamserve.engine.imagination.policy_runners import runner_of
from dreamserve.engine.imagination.trajectories import RolloutStart, StepOutcome, Trajectories
from dreamserve.engine.world import World
from dreamserve.manifest import WorldSpec
from dreamserve.noise import UInt64
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
        parts = []
        for first in range(0, len(seed), slice_rows):
            rows = seed[first : first + slice_rows]
            parts.append((yield from starts(world, given, rows, temperature)))
            yield None
        latent = np.concatenate([part[0] for part in parts])
        state = tuple(map(np.concatenate, zip(*(part[1] for part in parts), strict=True)))
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
        self.lengths[episode] += is_finite
        self.terminated[episode] = outcome.ended & is_finite

    def result(self, starting: EpisodeStarts, policies: int) -> RolloutResult:
        """Return the result of the rollout, with a row for each policy."""
        steps = int(self.lengths.max())

        def by_policy(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.ascontiguousarray(rows).reshape(policies, len(starting.seed), *rows.shape[1:])

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
            statistics=statistics(returns, lengths, terminated, finite),
        )
        if not self._trajectories:
            return result
        return replace(
            result,
            latents=by_policy(self._latents[:, : steps + 1]),
            actions=by_policy(self._actions[:, :steps]),
            rewards=by_policy(self._rewards[:, :steps]),
        )


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
    return log.result(starting, policies)


def statistics(
    returns: npt.NDArray[np.float64], lengths: Int64, terminated: Bools, finite: Bools
) -> RolloutStatistics:
    """Return each policy's statistics, (P,) each, over its finite episodes among (P, E).

    A policy without finite episodes has NaN for all but their number.
    """
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
    return RolloutStatistics(
        episodes=episodes,
        mean_return=mean(returns),
        std_return=deviation(returns),
        min_return=np.where(none, np.nan, least),
        max_return=np.where(none, np.nan, most),
        mean_length=mean(lengths),
        std_length=deviation(lengths),
        share_terminated=mean(terminated),
    )
