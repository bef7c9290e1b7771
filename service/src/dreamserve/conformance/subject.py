"""A world as the checks see it: its graphs on a backend, its bank, and dreams that begin there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import (
    Actions,
    Array,
    Backend,
    Int64,
    State,
    StepInput,
    StepOutput,
    draw_noise,
)
from dreamserve.bundle import Arrays
from dreamserve.manifest import WorldSpec

DREAMS, STEPS = 16, 200
KEPT = tuple(np.linspace(0, STEPS - 1, 4).astype(int).tolist())
MOMENTS = 64  # entries of the bank that the other checks look at, at most


@dataclass(frozen=True, slots=True, eq=False)
class Dreams:
    """`DREAMS` dreams of `STEPS` steps; one that ends begins again. It stops where one breaks."""

    inputs: list[StepInput]  # of the steps `KEPT`: states may be large
    last: StepOutput
    # Of each step:
    rewards: list[Array]  # (DREAMS,)
    done_logits: list[Array]  # (DREAMS,)
    signals: list[tuple[Array, ...]]  # (DREAMS,) each
    largest: list[float]  # number of a latent, in magnitude
    ends: list[int]  # how many dreams ended there


@dataclass(frozen=True, eq=False)
class Subject:
    """The world that is checked."""

    spec: WorldSpec
    backend: Backend
    bank: Arrays
    controller: Arrays | None = None
    inputs: tuple[str, ...] = ()  # of the controller: the latent and recurrent tensors, by name

    @cached_property
    def moments(self) -> Int64:
        """Some entries of the bank, evenly spread."""
        size = len(next(iter(self.bank.values())))
        return np.linspace(0, size - 1, min(size, MOMENTS)).astype(np.int64)

    def posterior(self, index: Int64) -> tuple[Array, ...]:
        """Return the posterior of entries of the bank (B,), by head."""
        names = self.spec.head.posterior(self.spec.latent_size)
        return tuple(self.bank[name][index] for name in names)

    def state(self, index: Int64) -> State:
        """Return the recurrent tensors of entries of the bank (B,)."""
        return tuple(self.bank[f"state.{t.name}"][index] for t in self.spec.recurrent_state)

    def start(self, index: Int64, seed: int) -> tuple[Array, State]:
        """Return latents (B, Z) and states of dreams that begin at entries of the bank (B,)."""
        head, seeds = self.spec.head, np.arange(len(index), dtype=np.uint64) + np.uint64(seed)
        keys = noise.keys(seeds, np.ones(len(index), np.int64), noise.RESET)
        return head.draw(head.prepared(self.posterior(index)), keys), self.state(index)

    @cached_property
    def dreams(self) -> Dreams:
        """Dreams from the bank under random actions, at temperature 1."""
        rng, inputs, ends_at = np.random.default_rng(0), [], []
        rewards, done_logits, signals, largest = [], [], [], []
        index = self.moments[np.arange(DREAMS) % len(self.moments)]
        latent, state = self.start(index, 0)
        for step in range(STEPS):
            batch = self._step(latent, state, random_actions(self.spec, rng, DREAMS), step)
            output = self.backend.step(batch)
            ends = self.spec.done.ends(output.done_logit, batch.end)
            inputs += [batch] if step in KEPT else []
            rewards.append(output.reward.copy())
            done_logits.append(output.done_logit.copy())
            signals.append(tuple(map(np.copy, output.signals)))
            largest.append(float(np.abs(output.latent).max()))
            ends_at.append(int(ends.sum()))
            if not output.is_finite().all():
                break
            fresh, first = self.start(rng.permutation(index), DREAMS * (step + 1))
            latent, *state_ = (
                np.where(ends.reshape(-1, *[1] * (new.ndim - 1)), new, old)
                for new, old in zip((fresh, *first), (output.latent, *output.state), strict=True)
            )
            state = tuple(state_)
        return Dreams(inputs, output, rewards, done_logits, signals, largest, ends_at)

    @cached_property
    def beginnings(self) -> StepInput:
        """Inputs of first steps from the bank."""
        latent, state = self.start(self.moments, 0)
        rows = len(self.moments)
        seeds, ones = np.arange(rows, dtype=np.uint64), np.ones(rows, np.float32)
        keys = noise.keys(seeds, np.zeros(rows, np.int64), noise.STEP)
        action = random_actions(self.spec, np.random.default_rng(2), rows)
        return StepInput(latent, action, state, ones, *draw_noise(self.spec, keys))

    @cached_property
    def rows(self) -> StepInput:
        """Inputs of 64 steps, from the beginning, the middle and the end of the dreams."""
        return joined(self.dreams.inputs)

    def _step(self, latent: Array, state: State, action: Actions, step: int) -> StepInput:
        seeds, ones = np.arange(DREAMS, dtype=np.uint64), np.ones(DREAMS, np.float32)
        keys = noise.keys(seeds, np.full(DREAMS, step, np.int64), noise.STEP)
        return StepInput(latent, action, state, ones, *draw_noise(self.spec, keys))


def random_actions(spec: WorldSpec, rng: np.random.Generator, rows: int) -> Actions:
    """Return random actions, one for each row."""
    return spec.action_space.uniform(rng.random((rows, *spec.action_space.shape), np.float32))


def joined(batches: Sequence[StepInput]) -> StepInput:
    """Return the rows of all batches as one, without the uniforms of ends."""
    return StepInput(
        latent=np.concatenate([batch.latent for batch in batches]),
        action=np.concatenate([batch.action for batch in batches]),
        state=tuple(map(np.concatenate, zip(*(batch.state for batch in batches), strict=True))),
        temperature=np.concatenate([batch.temperature for batch in batches]),
        noise=np.concatenate([batch.noise for batch in batches]),
    )


def taken(step: StepInput, rows: slice | Int64) -> StepInput:
    """Return these rows of a step's input."""
    return StepInput(
        step.latent[rows],
        step.action[rows],
        tuple(part[rows] for part in step.state),
        step.temperature[rows],
        step.noise[rows],
    )


def at(step: StepInput, temperature: float) -> StepInput:
    """Return the step at another temperature."""
    return replace(step, temperature=np.full_like(step.temperature, temperature))


def other_noise(spec: WorldSpec, step: StepInput, seed: int = 1) -> StepInput:
    """Return the step with other noise."""
    seeds = np.arange(len(step.latent), dtype=np.uint64)
    keys = noise.keys(seeds, np.full(len(seeds), seed, np.int64), noise.SAMPLE)
    return replace(step, noise=noise.draw(keys, spec.noise.normal, spec.noise.uniform))


def named(spec: WorldSpec, output: StepOutput) -> dict[str, Array]:
    """Return a step's outputs by their names in the manifest."""
    return dict(zip(spec.graph_outputs()["step"], output.arrays(), strict=True))
