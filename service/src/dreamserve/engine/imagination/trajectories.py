"""Imagined trajectories: B futures, advanced step by step; no session changes.

Callers yield each step (`engine.work`), so steps of several requests are computed in one call. A
step has at most `slice_rows` rows.
"""

from dataclasses import dataclass
from math import inf, prod
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from dreamserve import noise
from dreamserve.backends.base import (
    Actions,
    Array,
    Bools,
    Int64,
    State,
    StepInput,
    StepOutput,
    draw_noise,
)
from dreamserve.engine.dynamics import Work, WorldCall
from dreamserve.engine.world import World
from dreamserve.noise import UInt64

Values = npt.NDArray[np.float64]
StepNoise = tuple[Array, Array | None]  # `noise` and `end` of a step's input
_AHEAD = 32  # steps whose noise is drawn at once if all rows share it


@dataclass(frozen=True, slots=True, eq=False)
class RolloutStart:
    """The state that futures start from: a copy, so the session may be stepped meanwhile."""

    world: World
    latent: Array  # (1, Z)
    state: State  # (1, *shape) each
    step: int
    temperature: float


@dataclass(frozen=True, slots=True, eq=False)
class StepOutcome:
    """B futures after a step. An ended one gets no reward, and keeps its latent or goes on."""

    latent: Array  # (B, Z)
    reward: Array  # (B,)
    alive: Bools  # (B,) false if the future had ended before this step
    ended: Bools  # (B,) true if it had, or ended with this step
    finite: Bools  # (B,) false from the first NaN or infinity on
    output: StepOutput  # the world's outputs, also for ended futures


class Trajectories:
    """B futures of one world, each with its own seed, step number and temperature.

    A single seed and step, (1,) each, give all futures the same noise (common random numbers).
    With `goes_on` latents change past an end, too, for sums that weigh a step by the probability
    that it is reached, not by one draw.
    """

    goes_on: bool = False

    def __init__(
        self,
        world: World,
        latent: Array,
        state: State,
        seed: UInt64,
        step: Int64,
        temperature: Array,
        stream: int,
    ) -> None:
        self.world, self._stream = world, stream
        self.latent, self.state = latent, state  # (B, Z), (B, *shape) each
        self.seed, self.step, self.temperature = seed, step, temperature
        self.alive = np.ones(len(latent), np.bool_)
        self.finite = np.ones(len(latent), np.bool_)
        self._ahead: list[StepNoise] = []  # of the next steps

    @classmethod
    def of(cls, start: RolloutStart, rows: int, seed: UInt64, stream: int) -> Self:
        """Start `rows` futures at one state; `seed` is (B,) or (1,)."""
        return cls(
            start.world,
            np.repeat(start.latent, rows, axis=0),
            tuple(np.repeat(part, rows, axis=0) for part in start.state),
            seed,
            np.full(len(seed), start.step, np.int64),
            np.full(rows, start.temperature, np.float32),
            stream,
        )

    def __len__(self) -> int:
        return len(self.latent)

    def advance(self, action: Actions, until_s: float = inf) -> Work[StepOutcome | None]:
        """Take actions (B,) or (B, A); return the outcome, or None if `until_s` comes first."""
        numbers, end = self._noise()
        batch = StepInput(
            latent=self.latent,
            action=action.copy(),  # contiguous, as backends require
            state=self.state,
            temperature=self.temperature,
            noise=numbers,
            end=end,
        )
        new = yield WorldCall(self.world, batch, until_s)
        if new is None:
            return None
        alive = self.alive
        self.step = self.step + 1
        self.finite = self.finite & (new.finite | ~alive)
        if self.goes_on or bool(alive.all()):
            self.latent = new.latent
        else:
            self.latent = np.where(alive[:, None], new.latent, self.latent)
        self.state, self.alive = new.state, alive & ~new.terminated
        reward = np.where(alive, new.reward, np.float32(0))
        return StepOutcome(self.latent, reward, alive, ~self.alive, self.finite, new.output)

    def begin(self, rows: Int64, latent: Array, state: State, seed: UInt64, step: Int64) -> None:
        """Replace the futures of `rows` (N,) by new ones, each with its own seed."""
        self.latent[rows], self.seed[rows], self.step[rows] = latent, seed, step
        for part, new in zip(self.state, state, strict=True):
            part[rows] = new
        self.alive[rows] = self.finite[rows] = True
        self._ahead.clear()

    def keep(self, rows: Bools) -> None:
        """Keep only the futures where `rows` (B,) is true; each has its own seed."""
        self.latent, self.state = self.latent[rows], tuple(part[rows] for part in self.state)
        self.seed, self.step = self.seed[rows], self.step[rows]
        self.temperature = self.temperature[rows]
        self.alive, self.finite = self.alive[rows], self.finite[rows]
        self._ahead.clear()

    def _noise(self) -> StepNoise:
        """Return the noise of the next step."""
        if len(self.seed) > 1:
            keys = noise.keys(self.seed, self.step + 1, self._stream)
            return draw_noise(self.world.spec, keys)
        if not self._ahead:  # drawing many steps at once costs hardly more than one
            steps = self.step + 1 + np.arange(_AHEAD)
            keys = noise.keys(self.seed.repeat(_AHEAD), steps, self._stream)
            numbers, ends = draw_noise(self.world.spec, keys)
            each = [slice(i, i + 1) for i in reversed(range(_AHEAD))]
            self._ahead = [(numbers[i], None if ends is None else ends[i]) for i in each]
        numbers, ends = self._ahead.pop()
        rows = len(self)
        return numbers.repeat(rows, axis=0), None if ends is None else ends.repeat(rows)


class PolicyRunner(Protocol):
    """Chooses the actions of B rows."""

    def assign(self, rows: slice | Int64, policy: Int64) -> None:
        """Assign policies, by number, to `rows`."""
        ...

    def keep(self, rows: Bools) -> None:
        """Keep only the rows (B,) that are true."""
        ...

    def act(self, futures: Trajectories) -> tuple[Actions, Bools]:
        """Return actions (B,) or (B, A), and whether each is valid, (B,).

        If a policy's scores are NaN, its action is in the space, but not valid.
        """
        ...


def subseeds(seed: int, count: int, stream: int) -> UInt64:
    """Return `count` seeds derived from one, for futures with independent noise."""
    return noise.keys(np.full(count, seed, np.uint64), np.arange(count), stream)


def uniforms(seed: int, number: int, shape: tuple[int, ...], first: int = 0) -> Any:
    """Return uniforms in (0, 1) to choose actions by: a pure function of (seed, number).

    They are those from index `first` on, so they may be drawn piece by piece.
    """
    key = noise.keys(np.array([seed], np.uint64), np.array([number]), noise.ACTION)
    return noise.uniforms(key, first, prod(shape)).reshape(shape)
