"""A recipe: what a world is trained on and how, from the environment to the bundle, as data.

    RECIPE = Recipe(env="CartPole-v1")

is a whole one. All other fields have defaults, which follow from the environment (`defaults`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy.typing as npt
from pydantic import Field

from dreamserve.backends.choose import cores
from dreamserve_training.data.agents import Exploration
from dreamserve_training.data.collect import CollectConfig
from dreamserve_training.data.disk import Data
from dreamserve_training.data.policies import Policy
from dreamserve_training.data.signals import Signals
from dreamserve_training.dreams.returns import JUDGING_DREAMS
from dreamserve_training.envs import Env, EnvSpec, Record
from dreamserve_training.export.bank import BankConfig
from dreamserve_training.runs.options import PLACE, AtLeastZero, Count, Number, Options, Whole
from dreamserve_training.train.memory import TrainConfig
from dreamserve_training.train.methods import MethodConfig
from dreamserve_training.train.ppo.config import FinetuneConfig
from dreamserve_training.train.vae import VAEConfig

DoneRuleName = Literal["threshold", "drawn"]
Overrides = Mapping[str, Any]  # fields of a config that replace their defaults
PlayerName = Literal["controller", "baselines", "random"]


@dataclass(frozen=True)
class Iteration(Options):
    """One more pass: collect with the last controller, train M on with all data, learn C again.

    `players` have weights: "controller" is the last one, interrupted by bursts of random actions,
    "baselines" are the recipe's, if it has any, at a random pace, with the same bursts, and
    "random" plays as in the first pass. The fields after them change options of the recipe. V
    stays, unless `vae` is given: then it is trained on, too, and all data is encoded again. With
    other `memory_options` M is another one, and begins anew, and so does C.
    """

    episodes: Count  # for training; a tenth more is held out
    players: Mapping[PlayerName, AtLeastZero] = field(
        default_factory=lambda: {"controller": 0.5, "baselines": 0.25, "random": 0.25}
    )
    exploration: Overrides = field(default_factory=dict)  # Exploration
    vae: Overrides | None = None  # VAEConfig
    memory_options: Overrides = field(default_factory=dict)  # the core's arguments
    train: Overrides = field(default_factory=dict)  # TrainConfig
    controller: Overrides = field(default_factory=dict)  # ControllerConfig
    evaluate: Overrides = field(default_factory=dict)  # EvaluateConfig


# Of the plans of an evaluation: a plan of the default size takes seconds, and an episode may need a
# thousand. More iterations make better plans.
LIGHT_PLAN: Overrides = {"horizon": 20, "candidates": 64, "iterations": 6}


Actions = Sequence[Any] | npt.NDArray[Any]
_Crop = Annotated[Sequence[Whole], Field(min_length=4, max_length=4)]
_Size = Annotated[Sequence[Count], Field(min_length=2, max_length=2)]


@dataclass(frozen=True)
class Recipe(Options):
    """What a user writes. None and what is left out follow from the environment, or from `data`.

    `env` is a Gymnasium id (`module:Id-v0` imports the module first), or a callable that returns an
    environment: a class, a function, or a lambda that wraps one. The fields from `vae` on are
    options: `train={"epochs": 5}` changes one field of the default TrainConfig. With `data`, an
    environment is only played to evaluate the world; without one, there is no evaluation.
    """

    env: str | Callable[[], Env] | None = None
    data: Data | None = None  # episodes on disk, in place of collecting them
    name: str | None = None  # of the world; default: the name of the recipe's file
    # what is seen and done
    part: str | None = None  # key of a Dict observation
    crop: _Crop | None = None  # of pictures: top, bottom, left, right
    size: _Size | None = None  # (height, width) to which pictures are averaged down
    action_names: Sequence[str] | None = None  # of the actions, or of the parts of an action
    observation_names: Sequence[str] | None = None  # of the numbers that are observed
    max_episode_steps: Count | None = None
    install: str | None = None  # a command that installs the environment, for the error without it
    # the experience
    steps: Count | None = None  # about as many are collected for training, a tenth more is held out
    policy: Policy | None = None  # who plays: (rng, action space) → actions of an episode
    record: Record | None = None  # numbers stored with each step, for `signals` and analysis
    baselines: Mapping[str, Actions] = field(default_factory=dict)  # name → actions, repeated
    # the models
    constant_reward: Number | None = None  # of every step; None: as in the experience
    # an end: cut where the done logit exceeds a threshold, or drawn at its probability
    done_rule: DoneRuleName = "threshold"
    done_threshold: Number | None = None  # of the done logit; None: chosen on held-out episodes
    signals: Signals = field(default_factory=dict)  # recorded numbers that M predicts, by name
    collect: Overrides = field(default_factory=dict)  # CollectConfig
    vae: Overrides = field(default_factory=dict)  # VAEConfig; unused for vectors
    memory: str = "mdnrnn"  # the core of M, a key of `models.catalog.CORES`
    memory_options: Overrides = field(default_factory=dict)  # the core's arguments
    train: Overrides = field(default_factory=dict)  # TrainConfig
    batch_size: Count = 32
    sequence_length: Count | None = None
    controller: Overrides = field(default_factory=dict)  # `method`, and its options
    # FinetuneConfig: the last C then learns on in the real environment; None: in dreams only
    finetune: Overrides | None = None
    evaluate: Overrides = field(default_factory=dict)  # EvaluateConfig
    bank_size: Count = 256
    bank: Overrides = field(default_factory=dict)  # BankConfig
    iterations: Sequence[Iteration] = ()  # what follows the first pass through all stages


@dataclass(frozen=True)
class EvaluateConfig(Options):
    """Options of the evaluation in the real environment and in dreams."""

    episodes: Count = 100
    seed: Whole = 2_000_000  # of the first episode; nothing learns from these
    dream_temperatures: tuple[AtLeastZero, ...] = (0.5, 1.0, 1.15, 1.3)
    plan_episodes: Whole = 5  # played by /plan, which takes longer; 0: none
    plan: Overrides = field(default_factory=dict)  # fields of /plan; without these, `LIGHT_PLAN`
    workers: Count = field(default_factory=cores, metadata=PLACE)

    @property
    def seeds(self) -> range:
        """The episodes' seeds."""
        return range(self.seed, self.seed + self.episodes)

    @property
    def dream_seeds(self) -> range:
        """The seeds of as many dreams."""
        return range(JUDGING_DREAMS + self.seeds[0], JUDGING_DREAMS + self.seeds[-1] + 1)


@dataclass(frozen=True)
class ResolvedRecipe:
    """The options of every stage; `defaults.resolve` makes them from a recipe."""

    name: str
    env: EnvSpec
    data: Data | None
    baselines: tuple[tuple[str, tuple[Any, ...]], ...]
    collect: CollectConfig
    holdout: CollectConfig  # episodes with other seeds, never trained on
    vae: VAEConfig
    memory: str
    memory_options: dict[str, Any]  # without those that follow from the experience
    train: TrainConfig
    batch_size: int
    sequence_length: int
    controller: MethodConfig
    evaluate: EvaluateConfig
    constant_reward: float | None
    done_rule: DoneRuleName
    done_threshold: float | None
    signals: Signals
    bank: BankConfig
    trains_vae: bool = True  # else V is that of the pass before
    # of an iteration: who plays, and the recipe of the pass before it
    players: tuple[tuple[PlayerName, float], ...] = ()
    exploration: Exploration = field(default_factory=Exploration)
    before: "ResolvedRecipe | None" = None
    last: bool = True  # no iteration follows
    finetune: FinetuneConfig | None = None  # of the last pass

    @property
    def played_by(self) -> CollectConfig | None:
        """How the episodes of this pass are collected; None of recorded data."""
        return self.collect if self.data is None else None

    @property
    def number(self) -> int:
        """0 for the first pass, then the iteration's number."""
        return 0 if self.before is None else self.before.number + 1

    def passes(self) -> "list[ResolvedRecipe]":
        """Return the recipes of all passes up to this one."""
        return [*(self.before.passes() if self.before else ()), self]
