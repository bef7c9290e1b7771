"""Rollouts: whole episodes of many policies, whose dreams end at different times.

As many are in progress as a slice has rows. When one ends its row is taken by the next that waits,
so that calls of the world stay full. An episode is the dream of the session with its seed, bit for
bit, whatever is beside it.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve import noise
from dreamserve.backends.base import Actions, Array, Bools, Int64, State
from dreamserve.engine.actions import no_actions
from dreamserve.engine.checks import LARGEST_SEED, check_include, check_range
from dreamserve.engine.dynamics import starts
from dreamserve.engine.imagination.policy_runners import runner_of
from dreamserve.engine.imagination.trajectories import (
    RolloutStart,
    StepOutcome,
    Trajectories,
    subseeds,
)
from dreamserve.engine.types import Policy, RolloutRequest, RolloutResult, Start, policy_count
from dreamserve.engine.work import Work
from dreamserve.engine.world import World
from dreamserve.errors import InvalidRequestError
from dreamserve.manifest import WorldSpec
from dreamserve.noise import UInt64

_EXCESS_BITS = np.uint64(64 - LARGEST_SEED.bit_length())


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeStarts:
    """Where the E episodes of every policy begin."""

    world: World
    latent: Array  # (E, Z)
    state: State  # (E, *shape) each
    seed: UInt64  # (E,)
    step: int
    temperature: float

    @classmethod
    def at(cls, now: RolloutStart, seed: UInt64) -> "EpisodeStarts":
        """Begin all of them at one present."""

        def shared(part: Array) -> Array:
            return np.broadcast_to(part, (len(seed), *part.shape[1:]))

        latent, state = shared(now.latent), tuple(map(shared, now.state))
        return cls(now.world, latent, state, seed, now.step, now.temperature)

    @classmethod
    def of(
        cls, world: World, given: Start | None, seed: UInt64, temperature: float, slice_rows: int
    ) -> Work["EpisodeStarts"]:
        """Begin each as a reset with its seed does; what is given has been checked."""
        parts = []
        for first in range(0, len(seed), slice_rows):
            some = seed[first : first + slice_rows]
            parts.append((yield from starts(world, given, some, temperature)))
            yield None
        latent = np.concatenate([part[0] for part in parts])
        state = tuple(map(np.concatenate, zip(*(part[1] for part in parts), strict=True)))
        return cls(world, latent, state, seed, 0, temperature)

    def futures(self, episode: Int64) -> Trajectories:
        """Begin dreams of these episodes (B,)."""
        return Trajectories(
            self.world,
            self.latent[episode],
            tuple(part[episode] for part in self.state),
            self.seed[episode],
            np.full(len(episode), self.step, np.int64),
            np.full(len(episode), self.temperature, np.float32),
            noise.STEP,
        )

    def replace(self, futures: Trajectories, rows: Int64, episode: Int64) -> None:
        """Begin dreams of these episodes (N,) in place of those of `rows` (N,)."""
        state = tuple(part[episode] for part in self.state)
        step = np.full(len(rows), self.step, np.int64)
        futures.begin(rows, self.latent[episode], state, self.seed[episode], step)


class Record:
    """What N episodes came to; with their trajectories if these are asked for."""

    def __init__(self, spec: WorldSpec, count: int, max_steps: int, trajectories: bool) -> None:
        self.returns, self.lengths = np.zeros(count, np.float64), np.zeros(count, np.int64)
        self.terminated, self.finite = np.zeros(count, np.bool_), np.ones(count, np.bool_)
        self._trajectories = trajectories
        if trajectories:
            self._latents = np.zeros((count, max_steps + 1, spec.latent_size), np.float32)
            self._rewards = np.zeros((count, max_steps), np.float32)
            self._actions: Actions = no_actions(spec.action_space, count, max_steps)

    def begin(self, episode: Int64, latent: Array) -> None:
        """Note where episodes (B,) begin."""
        if self._trajectories:
            self._latents[episode, 0] = latent

    def add(self, episode: Int64, action: Actions, moment: StepOutcome, good: Bools) -> None:
        """Note a step of episodes (B,); of one that is no longer good, only that."""
        if not good.all():
            self.finite[episode[~good]] = False
        if self._trajectories:
            which, step = episode[good], self.lengths[episode[good]]
            self._latents[which, step + 1] = moment.latent[good]
            self._rewards[which, step] = moment.reward[good]
            self._actions[which, step] = action[good]
        self.returns[episode] += np.where(good, moment.reward, np.float32(0))
        self.lengths[episode] += good
        self.terminated[episode] = moment.ended & good

    def result(self, begun: EpisodeStarts, policies: int) -> RolloutResult:
        """Return it all, a row for each policy."""
        steps = int(self.lengths.max())

        def by_policy(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.ascontiguousarray(rows).reshape(policies, -1, *rows.shape[1:])

        numbers = (self.returns, self.lengths, self.terminated, self.finite)
        returns, lengths, terminated, finite = map(by_policy, numbers)
        result = RolloutResult(
            world=begun.world.name,
            seeds=begun.seed.astype(np.int64),
            temperature=begun.temperature,
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
    begun: EpisodeStarts, policy: Policy, max_steps: int, trajectories: bool, slice_rows: int
) -> Work[RolloutResult]:
    """Return the episodes of all policies. Raises what `actors.runner_of` raises."""
    each, policies = len(begun.seed), policy_count(policy)
    count = policies * each
    record = Record(begun.world.spec, count, max_steps, trajectories)
    episode = np.arange(min(slice_rows, count))  # (B,) what each row dreams: policy by policy
    waiting = len(episode)  # the first that does not dream yet
    runner = runner_of(begun.world, policy, len(episode))
    futures = begun.futures(episode % each)
    runner.assign(slice(None), episode // each)
    record.begin(episode, futures.latent)
    while len(episode):
        action, sound = runner.act(futures)
        moment = yield from futures.advance(action)
        assert moment is not None  # there is no deadline
        good = moment.finite & sound
        record.add(episode, action, moment, good)
        over = moment.ended | ~good | (record.lengths[episode] == max_steps)
        if not over.any():
            continue
        rows = np.flatnonzero(over)[: count - waiting]
        if len(rows):
            new = np.arange(waiting, waiting + len(rows))
            waiting += len(rows)
            begun.replace(futures, rows, new % each)
            runner.assign(rows, new // each)
            record.begin(new, futures.latent[rows])
            episode[rows], over[rows] = new, False
        if over.any():
            futures.keep(~over)
            runner.keep(~over)
            episode = episode[~over]
    return record.result(begun, policies)


def statistics(
    returns: npt.NDArray[np.float64], lengths: Int64, terminated: Bools, finite: Bools
) -> dict[str, npt.NDArray[Any]]:
    """Return what each policy's episodes came to, (P,) each, over the finite ones of (P, E).

    episodes (how many these are); mean_return, std_return, min_return, max_return; mean_length,
    std_length; share_terminated. Standard deviations are those of a sample (n - 1), 0 for a single
    episode. Where no episode is finite all but the number is NaN.
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


def check_rollout(request: RolloutRequest) -> None:
    """Raise InvalidRequestError or its kin for what makes no sense in any world."""
    check_include(request.include, frozenset({"trajectories"}), "a rollout")
    check_range("max_steps", request.max_steps, 1)
    anywhere = request.world is not None or request.start is not None
    if request.session_id is not None and anywhere:
        raise InvalidRequestError("a rollout of a session has no world and no start")
    if request.episodes is not None:
        check_range("episodes", request.episodes, 1)
    if request.seeds is None:
        if request.episodes is None:
            raise InvalidRequestError("give episodes, or seeds: one an episode")
        return
    seeds = np.asarray(request.seeds)
    if seeds.ndim != 1 or not len(seeds) or seeds.dtype.kind not in "iu":
        raise InvalidRequestError("seeds must be integers, one an episode")
    if seeds.min() < 0 or seeds.max() > LARGEST_SEED:
        raise InvalidRequestError(f"seeds must be within 0 and {LARGEST_SEED}")
    if request.seed is not None or request.episodes not in (None, len(seeds)):
        raise InvalidRequestError("with seeds there is one episode for each, and no seed")


def episode_seeds(request: RolloutRequest, seed: int) -> UInt64:
    """Return a seed for each episode (E,), such as a reset takes; those given, or from `seed`."""
    if request.seeds is not None:
        return np.asarray(request.seeds).astype(np.uint64)
    return subseeds(seed, request.episodes or 1, noise.ROLLOUT) >> _EXCESS_BITS
