"""Many dreams that go on for ever: a dream that ends or is cut begins anew at a real moment.

They advance together, by one call of the world's step for all of them, and stay on its device.
"""

from math import inf

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dreamserve.backends.base import head_arrays
from dreamserve.backends.torch_state import checked, finite_rows
from dreamserve.engine.dynamics import start_from_bank
from dreamserve.engine.world import World
from dreamserve.noise import UNIFORMS
from dreamserve_training.runs.errors import DivergedError
from dreamserve_training.train.ppo.config import END, WORLD, Features, PPOConfig, weighted
from dreamserve_training.train.ppo.distributions import Distribution
from dreamserve_training.train.ppo.experience import Experience, Scores
from dreamserve_training.train.ppo.steps import output_of, tensor_step

Outputs = tuple[Tensor, ...]  # of a step, in the manifest's order


class Dreams:
    """N dreams of a world. What they are between two iterations is `latent` to `idle`."""

    def __init__(self, world: World, features: Features, config: PPOConfig) -> None:
        self.world, self.layout, self.config = world, features, config
        self._step, self.device = tensor_step(world)
        self._starts = _start_weights(world, config.beginnings, config.late)
        shape = (config.steps + 1, config.dreams, features.size)
        self._features = torch.empty(shape, device=self.device)

    def begin(self, rng: np.random.Generator) -> None:
        """Begin all dreams, each at another part of its time, so that they are not cut at once."""
        n, spec = self.config.dreams, self.world.spec
        self.latent = torch.empty((n, spec.latent_size), device=self.device)
        self.state: Outputs = tuple(
            torch.empty((n, *tensor.shape), device=self.device) for tensor in spec.recurrent_state
        )
        self.temperature = torch.empty(n, device=self.device)
        self.age = torch.empty(n, dtype=torch.int64, device=self.device)
        self.idle = torch.empty(n, dtype=torch.int64, device=self.device)
        self._restart(torch.arange(n, device=self.device), rng)
        self.age.copy_(torch.from_numpy(rng.integers(self.config.dream_steps, size=n)))

    @torch.no_grad()
    def run(
        self, scores_of: Scores, distribution: Distribution, rng: np.random.Generator
    ) -> Experience:
        """Advance all dreams by the configured steps; `features` is overwritten by the next call.

        Raises DivergedError for a dream that is not finite any more.
        """
        steps, n, spec = self.config.steps, self.config.dreams, self.world.spec
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**63)))
        scores = torch.empty((steps, n, spec.action_space.width), device=self.device)
        rewards, ends = (torch.empty((steps, n), device=self.device) for _ in range(2))
        cut, finite = (rewards.new_empty((steps, n), dtype=torch.bool) for _ in range(2))
        drawn, finals = [], []
        for t in range(steps):
            self._write(self._features[t])
            scores[t] = scores_of(self._features[t, :, : self.layout.input_size])
            choice, action = distribution.draw(scores[t], generator)
            outputs = self._step(
                self.latent, action, *self.state, self.temperature, self._noise(generator)
            )
            finite[t] = finite_rows(*checked(outputs, len(self.state), head_arrays(spec)))
            output = output_of(spec, outputs)
            self.latent, self.state, self.age = output.latent, output.state, self.age + 1
            ends[t], ended = self._ends(output.done_logit, generator)
            parts = {WORLD: output.reward, END: ends[t], **spec.named_signals(output.signals)}
            rewards[t] = weighted(self.config.reward, parts)
            is_lost = self._count_idle(rewards[t])
            ends[t].masked_fill_(is_lost, 1.0)
            cut[t] = ended | is_lost | (self.age >= self.config.dream_steps)
            drawn.append(choice)
            rows = cut[t].nonzero().squeeze(1)
            finals.append(
                self._write(self._features.new_empty((len(rows), self.layout.size)), rows)
            )
            self._restart(rows, rng)
        self._write(self._features[steps])
        _check(finite)
        taken = torch.stack(drawn)
        return Experience(self._features, scores, taken, rewards, ends, cut, torch.cat(finals))

    def content(self) -> list[Tensor]:
        """Return what the dreams are between two iterations."""
        return [self.latent, *self.state, self.temperature, self.age, self.idle]

    def restore(self, content: list[Tensor]) -> None:
        """Go on from what `content` returned."""
        latent, *state, temperature, age, idle = (part.to(self.device) for part in content)
        self.latent, self.state = latent, tuple(state)
        self.temperature, self.age, self.idle = temperature, age, idle

    def _noise(self, generator: torch.Generator) -> Tensor:
        """Draw a step's noise (N, normal + uniform), as the manifest describes it."""
        size, n = self.world.spec.noise, self.config.dreams
        normal = torch.randn((n, size.normal), generator=generator, device=self.device)
        uniform = torch.rand((n, size.uniform), generator=generator, device=self.device)
        return torch.cat([normal, uniform.clamp_(*UNIFORMS)], dim=1)

    def _write(self, into: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """Write the states of dreams `rows` into (N, F), and return it."""
        parts = {"latent": self.latent, **self.world.spec.named_state(self.state)}
        first = 0
        for name, size in zip(self.layout.names, self.layout.sizes, strict=True):
            into[:, first : first + size] = parts[name][rows].reshape(len(into), size)
            first += size
        return into

    def _ends(self, logit: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the probabilities that the dreams ended, and whether they did, (N,) each."""
        done = self.world.spec.done
        if self.config.ends == "world" and done.rule == "threshold":
            ended = logit > done.threshold
            return ended.float(), ended
        drawn = self.config.ends == "drawn"
        probability = self.config.end_probability(logit) if drawn else torch.sigmoid(logit)
        uniform = torch.rand(len(logit), generator=generator, device=self.device)
        ended = uniform < probability
        return (probability if drawn else ended.float()), ended

    def _count_idle(self, rewards: Tensor) -> Tensor:
        """Count one more step of these rewards (N,); return the dreams that earn nothing more."""
        self.idle = torch.where(rewards > 0, 0, self.idle + 1)
        return self.idle >= (self.config.idle_steps or inf)

    def _restart(self, rows: Tensor, rng: np.random.Generator) -> None:
        count = len(rows)
        entries = np.searchsorted(self._starts, rng.random(count), side="right")
        keys = rng.integers(2**64, size=count, dtype=np.uint64)
        latent, state = start_from_bank(self.world, keys, entries)
        temperature = rng.uniform(*self.config.temperatures, count).astype(np.float32)
        fresh = (latent, *state, temperature)
        for part, start in zip((self.latent, *self.state, self.temperature), fresh, strict=True):
            part[rows] = torch.from_numpy(start).to(self.device)
        self.age[rows] = self.idle[rows] = 0


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
    shares: npt.NDArray[np.float64] = upto / upto[-1]
    return shares


def _check(finite: Tensor) -> None:
    """Raise DivergedError for the first step (T, N) after which a dream is not finite."""
    if not bool(finite.all()):
        step, row = (int(part) for part in (~finite).nonzero()[0])
        raise DivergedError(f"dream {row} became NaN or infinity at step {step + 1}")
