"""Deterministic futures: the most likely one, and one for each alternative of the first step.

A deterministic step is a step at temperature 0: the mean of the most likely component or class,
under both of the manifest's temperature rules. It uses no seed; if alternatives are equally likely,
it takes the first. An end that is drawn comes where it is more likely than not.

How the first step takes alternative k: the head's outputs do not depend on noise, and the
alternative's mean replaces the latent. Reward and termination may depend on the drawn
latent, so the step's noise is chosen such that the graph itself draws that mean: normals of 0, and
a uniform in the middle of the alternative's interval of (0, 1). This assumes graphs that draw by
inverse CDF, as those of `export` do, and an interval that float32 can resolve: an alternative with
a weight below about 1e-6 gets the reward and termination of its neighbour. The recurrent state is
always right, because it does not depend on the step's draw.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dreamserve.backends.base import Actions, Array, Int64
from dreamserve.backends.finite import finite_rows
from dreamserve.engine.dynamics import Work
from dreamserve.engine.imagination.buffer import TrajectoryBuffer
from dreamserve.engine.imagination.trajectories import (
    RolloutStart,
    StepNoise,
    StepOutcome,
    Trajectories,
)
from dreamserve.heads.choices import probabilities
from dreamserve.noise import LEAST_UNIFORM, MOST_UNIFORM, SAMPLE
from dreamserve_protocol.sample import Components, MostLikely


class DeterministicTrajectories(Trajectories):
    """Trajectories with chosen instead of random noise; created by `deterministic`."""

    uniforms: Array | None = None  # (B, U) for the next step; None: the smallest possible ones

    def _noise(self) -> StepNoise:
        spec = self.world.spec
        numbers = np.zeros((len(self), spec.noise.normal + spec.noise.uniform), np.float32)
        numbers[:, spec.noise.normal :] = LEAST_UNIFORM if self.uniforms is None else self.uniforms
        is_drawn = spec.done.rule == "drawn"
        return numbers, np.full(len(self), 0.5, np.float32) if is_drawn else None


def deterministic(
    start: RolloutStart, rows: int, temperature: float = 0.0
) -> DeterministicTrajectories:
    """Return `rows` futures from one start that take the most likely component's mean."""
    start = replace(start, temperature=temperature)
    return DeterministicTrajectories.of(start, rows, np.zeros(1, np.uint64), SAMPLE)


def most_likely(start: RolloutStart, actions: Actions, include: Sequence[str]) -> Work[MostLikely]:
    """Return the most likely future under actions (H, …). Raises DreamNotFiniteError."""
    buffer = TrajectoryBuffer(start.world, 1, len(actions), include, "most likely future")
    yield from buffer.follow(deterministic(start, 1), 0, actions)
    shown: Any = buffer.shown(0)
    return MostLikely(buffer.latents[0], buffer.rewards[0], buffer.terminated[0], **shown)


def components(start: RolloutStart, actions: Actions, include: Sequence[str]) -> Work[Components]:
    """Return one future for each alternative of the first step, under actions (H, …).

    They are ordered by falling weight, and deterministic from the second step on. Raises
    DreamNotFiniteError.
    """
    predicted = (yield from _first_step(deterministic(start, 1), actions[:1])).output
    head = start.world.spec.head
    logits = head.logits(predicted.head)
    order: Int64 = np.argsort(-logits[0], axis=0, kind="stable")  # (K,) or (K, N)
    weights = probabilities(logits)[0]
    ranked = np.take_along_axis(weights, order, axis=0)
    means = head.chosen(predicted.head, order)

    count = len(means)
    futures = deterministic(start, count, temperature=1.0)
    futures.uniforms = _midpoints(weights, order, start.world.spec.noise.uniform)
    outcome = yield from _first_step(futures, actions[:1].repeat(count, axis=0))
    outcome = replace(outcome, latent=means, finite=outcome.finite & finite_rows(means, ranked))
    futures.latent, futures.uniforms = means, None
    futures.temperature = np.zeros(count, np.float32)

    buffer = TrajectoryBuffer(start.world, count, len(actions), include, "component")
    yield from buffer.write(0, 0, outcome)
    yield from buffer.follow(futures, 0, actions, begin=1)
    shown: Any = buffer.shown()
    return Components(
        ranked,
        order,
        buffer.latents,
        buffer.rewards,
        buffer.terminated,
        **shown,
    )


def _first_step(futures: Trajectories, actions: Actions) -> Work[StepOutcome]:
    outcome = yield from futures.advance(actions)
    assert outcome is not None  # there is no deadline
    return outcome


def _midpoints(weights: Array, order: Int64, uniforms: int) -> Array | None:
    """Return the uniforms (K, U) with which a graph draws the k-th most likely component.

    U is the number of choices; None if the graph takes another number of uniforms.
    """
    middles = np.cumsum(weights, axis=0, dtype=np.float64) - weights / 2
    ranked = np.take_along_axis(middles, order, axis=0).reshape(len(weights), -1)
    if ranked.shape[1] != uniforms:
        return None
    midpoints: Array = np.clip(ranked, LEAST_UNIFORM, MOST_UNIFORM).astype(np.float32)
    return midpoints
