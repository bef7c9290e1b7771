"""One learning: its policy and critic, its source of experience, and an iteration of both."""

import json
import time
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from dreamserve.manifest import WorldSpec
from dreamserve_training.models.controller import LayeredPolicy
from dreamserve_training.train.ppo.advantages import advantages
from dreamserve_training.train.ppo.config import Features, LearningConfig, check_reward
from dreamserve_training.train.ppo.distributions import Distribution
from dreamserve_training.train.ppo.experience import Experience, Scores
from dreamserve_training.train.ppo.model import ActorCritic
from dreamserve_training.train.ppo.update import Batch, improve


class Source(Protocol):
    """Where experience comes from: dreams, or real episodes.

    `content` and `restore` are all of it between two iterations.
    """

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""

    def begin(self, rng: np.random.Generator) -> None:
        """Begin, before the first iteration."""

    def run(
        self, scores_of: Scores, distribution: Distribution, rng: np.random.Generator
    ) -> Experience:
        """Return the experience of one iteration, which the next call may overwrite."""

    def content(self) -> list[Tensor]:
        """Return its state."""

    def restore(self, content: list[Tensor]) -> None:
        """Go on from what `content` returned."""


def counted(config: LearningConfig) -> str:
    """Return what the critic's values are sums of: another critic means something else.

    A text, because a checkpoint of equal strings has other bytes than one of the same string.
    """
    reward = {name: float(weight) for name, weight in config.reward.items() if weight}
    counts = {"reward": reward, "discount": config.discount, "done_weight": config.done_weight}
    return json.dumps(counts, sort_keys=True)


class Learner:
    """Learns from `source`. `content` and `restore` are all of it between two iterations.

    All random numbers of iteration i come from a generator seeded by (seed, i). Raises ValueError
    for a reward, inputs or an `initial` policy that do not fit the world.
    """

    def __init__(
        self,
        spec: WorldSpec,
        config: LearningConfig,
        source: Source,
        initial: LayeredPolicy | None = None,
    ) -> None:
        check_reward(spec, config.reward)
        features = Features.of(spec, config)
        self.config, self.iteration, self.source = config, 0, source
        self.model = ActorCritic(spec, features, config, initial).to(source.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), config.lr, eps=1e-5)
        # of the critic's values, so that any size of rewards is learned alike; 0: none was seen
        self.unit = 0.0
        self.history: dict[str, list[float]] = {}

    def iterate(self) -> dict[str, float]:
        """Dream, then improve policy and critic; return the figures. Raises DivergedError."""
        config, start_s = self.config, time.monotonic()
        rng = np.random.default_rng((config.seed, self.iteration))
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * (1 - self.iteration / config.iterations)
        if self.iteration == 0:
            self.source.begin(rng)
        seen = self.source.run(self.model.scores, self.model.distribution, rng)
        dreamt_s = time.monotonic()
        batch = self._batch(seen)
        figures = asdict(improve(self.model, self.optimizer, batch, config, rng))
        self.iteration += 1
        figures["reward"] = float(seen.rewards.mean())
        figures["ends"] = 1000 * float(seen.ends.mean())
        for name, value in figures.items():
            self.history.setdefault(name, []).append(value)
        steps, now_s = seen.rewards.numel(), time.monotonic()
        speed = {"steps_per_s": steps / (now_s - start_s), "dream_s": dreamt_s - start_s}
        return {**figures, **speed}

    def last(self) -> dict[str, float]:
        """Return the figures of the last iteration."""
        return {name: values[-1] for name, values in self.history.items()}

    def content(self) -> dict[str, Any]:
        """Return the whole learning, of tensors and plain numbers."""
        return {
            "iteration": self.iteration,
            "unit": self.unit,
            "counts": counted(self.config),
            "history": self.history,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "source": self.source.content(),
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Go on from what `content` returned."""
        self.iteration, self.unit = content["iteration"], content["unit"]
        self.history = content["history"]
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.source.restore(content["source"])

    def _batch(self, seen: Experience) -> Batch:
        config = self.config
        unit = self._unit(seen)
        values = self.model.values(seen.features)  # (T + 1, N)
        next_values = values[1:].clone()
        next_values[seen.cut] = self.model.values(seen.finals)
        gains = advantages(
            seen.rewards / unit,
            *(seen.ends, seen.cut, values[:-1], next_values),
            *(config.discount, config.gae_lambda),
        )
        scores, drawn = seen.scores.flatten(0, 1), seen.drawn.flatten(0, 1)
        with torch.no_grad():
            log_prob = self.model.distribution.log_prob(scores, drawn)
        features, targets = seen.features[:-1].flatten(0, 1), (gains + values[:-1]).flatten()
        return Batch(features, drawn, log_prob, gains.flatten(), targets)

    def _unit(self, seen: Experience) -> float:
        """Return the size of discounted sums of rewards in the first iteration that has some.

        It is 1 before that, while nothing is known of it.
        """
        if not self.unit:
            zeros, config = torch.zeros_like(seen.rewards), self.config
            ends, cut = seen.ends, seen.cut
            sums = advantages(seen.rewards, ends, cut, zeros, zeros, config.discount, 1.0)
            self.unit = float(sums.double().square().mean().sqrt())
        return self.unit or 1.0
