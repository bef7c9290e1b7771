"""Many dreams that go on for ever: a dream that ends or is cut begins anew at a real moment.

They advance together, by one call of the world's step for all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import Array, Bools, Int64, StepInput, StepOutput, draw_noise
from dreamserve.engine.dynamics import start_from_bank
from dreamserve.engine.world import World
from dreamserve_training.runs.errors import DivergedError
from dreamserve_training.train.ppo.config import END, WORLD, Features, PPOConfig
from dreamserve_training.train.ppo.distributions import Distribution, Drawn

Scores = Callable[[Array], Array]  # of C, (N, width), for its inputs (N, F)


@dataclass(frozen=True, eq=False)
class Experience:
    """T steps of N dreams, and the states of those that were cut or ended."""

    features: Array  # (T + 1, N, F) before each step, and after the last
    scores: Array  # (T, N, width)
    drawn: Drawn  # (T, N, A)
    rewards: Array  # (T, N) that the world expects
    ends: Array  # (T, N) probability that the step ended the dream
    cut: Bools  # (T, N) whether another dream goes on after the step
    finals: Array  # (cuts, F) states after the steps where `cut`, in its order


class Dreams:
    """N dreams of a world. What they are between two iterations is `latent` to `age`."""

    def __init__(self, world: World, features: Features, config: PPOConfig) -> None:
        self.world, self.layout, self.config = world, features, config
        self._starts = _start_weights(world, config.beginnings, config.late)
        self._features = np.empty((config.steps + 1, config.dreams, features.size), np.float32)

    def begin(self, rng: np.random.Generator) -> None:
        """Begin all dreams, each at another part of its time, so that they are not cut at once."""
        n, state = self.config.dreams, self.world.spec.recurrent_state
        self.latent = np.empty((n, self.world.spec.latent_size), np.float32)
        self.state = tuple(np.empty((n, *tensor.shape), np.float32) for tensor in state)
        self.temperature, self.age = np.empty(n, np.float32), np.empty(n, np.int64)
        self._restart(np.arange(n), rng)
        self.age[:] = rng.integers(self.config.dream_steps, size=n)

    def run(
        self, scores_of: Scores, distribution: Distribution, rng: np.random.Generator
    ) -> Experience:
        """Advance all dreams by the configured steps; `features` is overwritten by the next call.

        Raises DivergedError for a dream that is not finite any more.
        """
        steps, n = self.config.steps, self.config.dreams
        features, spec = self._features, self.world.spec
        scores = np.empty((steps, n, spec.action_space.width), np.float32)
        rewards, ends = (np.empty((steps, n), np.float32) for _ in range(2))
        cut, drawn, finals = np.empty((steps, n), np.bool_), [], []
        for t in range(steps):
            self._write(features[t])
            scores[t] = scores_of(features[t][:, : self.layout.input_size])
            choice, action = distribution.draw(scores[t], rng)
            numbers = draw_noise(spec, _keys(rng, n))
            taken = (self.latent, action, self.state, self.temperature, *numbers)
            output = self.world.backend.step(batch := StepInput(*taken))
            _check(output, t)
            self.latent, self.state, self.age = output.latent, output.state, self.age + 1
            ends[t], ended = self._ends(output, batch.end, rng)
            rewards[t] = expected_reward(self.config.reward, spec.named_signals, output, ends[t])
            cut[t] = ended | (self.age >= self.config.dream_steps)
            drawn.append(choice)
            rows = np.flatnonzero(cut[t])
            finals.append(self._write(np.empty((len(rows), self.layout.size), np.float32), rows))
            self._restart(rows, rng)
        self._write(features[steps])
        last = np.concatenate(finals)
        return Experience(features, scores, np.stack(drawn), rewards, ends, cut, last)

    def _write(self, into: Array, rows: Int64 | slice = slice(None)) -> Array:
        """Write the states of dreams `rows` into (N, F), and return it."""
        parts = {"latent": self.latent, **self.world.spec.named_state(self.state)}
        first = 0
        for name, size in zip(self.layout.names, self.layout.sizes, strict=True):
            into[:, first : first + size] = parts[name][rows].reshape(len(into), size)
            first += size
        return into

    def _ends(
        self, output: StepOutput, uniform: Array | None, rng: np.random.Generator
    ) -> tuple[Array, Bools]:
        """Return the probabilities that the dreams ended, and whether they did, (N,) each."""
        if self.config.ends == "world":
            ended = self.world.spec.done.ends(output.done_logit, uniform)
            return ended.astype(np.float32), ended
        logit = np.clip(output.done_logit - np.float32(log(self.config.done_weight)), -80, 80)
        probability = 1 / (1 + np.exp(-logit))
        return probability, rng.random(len(logit), np.float32) < probability

    def _restart(self, rows: Int64, rng: np.random.Generator) -> None:
        entries = np.searchsorted(self._starts, rng.random(len(rows)), side="right")
        latent, state = start_from_bank(self.world, _keys(rng, len(rows)), entries)
        self.latent[rows] = latent
        for part, fresh in zip(self.state, state, strict=True):
            part[rows] = fresh
        self.temperature[rows] = rng.uniform(*self.config.temperatures, len(rows))
        self.age[rows] = 0


def expected_reward(
    reward: Mapping[str, float],
    named: Callable[[tuple[Array, ...]], Mapping[str, Array]],
    output: StepOutput,
    ends: Array,
) -> Array:
    """Return the weighted sum of the parts of the reward, (N,): the world's, ends and signals."""
    parts = {WORLD: output.reward, END: ends, **named(output.signals)}
    total: Array = sum(np.float32(weight) * parts[name] for name, weight in reward.items())
    return total


def _start_weights(world: World, beginnings: float, late: float) -> npt.NDArray[np.float64]:
    """Return the cumulative probabilities (entries,) of starting at the bank's entries."""
    ages = np.zeros(world.bank_size) if world.ages is None else world.ages
    weights = ages.astype(np.float64) ** late
    if not weights.any():
        weights[:] = 1.0
    weights *= (1 - beginnings) / weights.sum()
    young = world.entries("beginning")
    weights[young] += beginnings / len(young)
    upto: npt.NDArray[np.float64] = np.cumsum(weights)
    return upto / upto[-1]


def _keys(rng: np.random.Generator, count: int) -> npt.NDArray[np.uint64]:
    return rng.integers(2**64, size=count, dtype=np.uint64)


def _check(output: StepOutput, step: int) -> None:
    finite = output.is_finite()
    if not finite.all():
        row = int(np.argmin(finite))
        raise DivergedError(f"dream {row} became NaN or infinity at step {step + 1}")
