"""The options of learning by PPO, and what they ask of a world."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log, prod
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from dreamserve.backends.choose import cores
from dreamserve.manifest import WorldSpec
from dreamserve.spaces import ActionSpace, BoxSpace
from dreamserve_training.runs.options import (
    PLACE,
    AboveZero,
    AtLeastZero,
    Count,
    Number,
    Options,
    Whole,
)

Share = Annotated[float, Field(ge=0, le=1)]
WORLD, END = "world", "end"  # rewards that every world has; the others are its signals


@dataclass(frozen=True)
class LearningConfig(Options):
    """Options of PPO, whatever the steps are from that C learns of."""

    iterations: Count = 300
    reward: Mapping[str, Number] = field(default_factory=lambda: {WORLD: 1.0})
    done_weight: AboveZero = 1.0  # of positives, which is still in the done logit
    inputs: tuple[str, ...] | None = None  # that C sees; None: the latent, first recurrent tensor
    hidden: Whole = 0  # units of C's hidden layer, tanh; 0: C is linear
    discount: Share = 0.99
    gae_lambda: Share = 0.95
    clip: AboveZero = 0.2
    passes: Count = 2  # over the experience of an iteration
    minibatch: Count = 8192  # steps
    entropy: AtLeastZero = 0.003
    lr: AboveZero = 3e-3  # of Adam; it falls to 0
    # in a row without a positive reward, after which nothing more is earned: it counts as an end
    idle_steps: Count | None = None
    critic_size: Count = 128  # units of its hidden layer
    action_std: AboveZero = 0.5  # of a Box's actions at first, before tanh
    # of the scores of the controller that it starts from; None: 0.5, which lets choices be drawn
    # more evenly, and 1 for a Box, whose scores are the actions themselves
    initial_scale: AtLeastZero | None = None
    seed: Whole = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.reward:
            raise ValueError(f"{type(self).__name__}: reward must have at least one part")

    def scale_of_initial(self, space: ActionSpace) -> float:
        """Return by what the scores of the controller that it starts from are multiplied."""
        if self.initial_scale is not None:
            return self.initial_scale
        return 1.0 if isinstance(space, BoxSpace) else 0.5

    def end_probability(self, logit: Tensor) -> Tensor:
        """Return the probability of an end by the world's done logit, of the same shape."""
        return torch.sigmoid(logit - log(self.done_weight))


@dataclass(frozen=True)
class PPOConfig(LearningConfig):
    """Options of C's learning in dreams. An iteration is `dreams` · `steps` steps of the world.

    The experience of an iteration takes 4 · `dreams` · `steps` · (numbers of a dream's state) bytes
    of memory: 0.3 GB in TakeCover by default.
    """

    learnings: Count = 1  # with seeds from `seed` on; C's scores are the mean of theirs
    learners: Count | None = field(default=None, metadata=PLACE)  # at once; None: one for each core
    dreams: Count = 1024  # that advance together
    steps: Count = 64  # of each dream, in an iteration
    dream_steps: Count = 200  # after which a dream is cut; its rest is estimated by the critic
    beginnings: Share = 0.35  # of the dreams start at beginnings, the others at any moment
    late: AtLeastZero = 0.0  # the others start in proportion to a moment's age ** late
    temperatures: tuple[AtLeastZero, AtLeastZero] = (1.0, 1.3)  # drawn between them for each dream
    ends: Literal["drawn", "world"] = "drawn"  # by their probability, or as the world ends
    # auto: CUDA if there is one
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata=PLACE)

    @property
    def temperature(self) -> float:
        """The temperature in the middle."""
        return sum(self.temperatures) / 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperatures[0] > self.temperatures[1]:
            raise ValueError("PPOConfig: temperatures must be the lowest, then the highest")
        if self.learnings > 1 and self.hidden:
            raise ValueError("PPOConfig: several learnings need hidden=0: networks have no mean")


@dataclass(frozen=True)
class FinetuneConfig(LearningConfig):
    """Options of C's learning in the real environment. An iteration is `episodes` real episodes.

    What the world pays is what the environment paid. `ends` and `signals` are those that happened,
    or what the world expected of them at each real step, which varies less, and which knows nothing
    of what the world cannot foresee.
    """

    iterations: Count = 30
    lr: AboveZero = 1e-3
    initial_scale: AtLeastZero | None = 1.0
    episodes: Count = 16  # in an iteration
    first_seed: Whole = 6_000_000  # of the episodes; those that judge have other seeds
    ends: Literal["real", "expected"] = "real"
    signals: Literal["real", "expected"] = "expected"
    workers: Count = field(default_factory=cores, metadata=PLACE)

    @property
    def seeds(self) -> range:
        """The seeds of all episodes."""
        return range(self.first_seed, self.first_seed + self.iterations * self.episodes)


@dataclass(frozen=True)
class Features:
    """How a dream's latent and recurrent tensors are in a row: C's `inputs` first."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    inputs: tuple[str, ...]

    @classmethod
    def of(cls, spec: WorldSpec, config: LearningConfig) -> "Features":
        """Return those of a world. ValueError for inputs that it does not have."""
        sizes = spec.tensor_sizes()
        inputs = tuple(sizes)[:2] if config.inputs is None else config.inputs
        if not inputs or len(set(inputs)) < len(inputs) or set(inputs) - set(sizes):
            known = ", ".join(sizes)
            raise ValueError(f"inputs {list(inputs)}: must be some of {known}, each once")
        names = (*inputs, *(name for name in sizes if name not in inputs))
        return cls(names, tuple(sizes[name] for name in names), inputs)

    @property
    def size(self) -> int:
        """Numbers of a dream's whole state."""
        return sum(self.sizes)

    @property
    def input_size(self) -> int:
        """Numbers that C sees."""
        return sum(self.sizes[: len(self.inputs)])


def check_reward(spec: WorldSpec, reward: Mapping[str, float]) -> None:
    """Raise ValueError for a part of the reward that the world does not have, or has twice."""
    names = [signal.name for signal in spec.signals]
    if twice := {WORLD, END} & set(names):
        raise ValueError(f"reward: {min(twice)!r} is a part of its own; rename the world's signal")
    known = [WORLD, END, *names]
    if unknown := sorted(set(reward) - set(known)):
        raise ValueError(f"reward: the world {spec.name} has no {unknown}, only {known}")


def weighted(reward: Mapping[str, float], parts: Mapping[str, Tensor]) -> Tensor:
    """Return C's rewards (N,): the sum of the parts, each (N,), with their weights."""
    total = torch.zeros_like(parts[END])
    for name, weight in reward.items():
        total += weight * parts[name]
    return total


def experience_bytes(features: Features, config: PPOConfig) -> int:
    """Return the bytes of the states of one iteration."""
    return 4 * prod((config.dreams, config.steps + 1, features.size))
