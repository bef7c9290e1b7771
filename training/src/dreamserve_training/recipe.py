"""A recipe: all choices that make one world, from the environment to the bundle, as data."""

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from dreamserve_training.data.collect import CollectConfig
from dreamserve_training.envs import EnvSpec
from dreamserve_training.files import atomic_write
from dreamserve_training.train.controller import ControllerConfig
from dreamserve_training.train.memory import TrainConfig
from dreamserve_training.train.vae import VAEConfig

RECIPES = ("takecover",)
Split = Literal["train", "holdout"]


@dataclass(frozen=True)
class EvaluateConfig:
    """How the controller is evaluated in the real environment."""

    episodes: int = 100
    seed: int = 2_000_000  # far from every seed that data was collected with
    sweeps: tuple[int, ...] = (60, 90, 110, 130, 150, 180)  # steps each way
    dream_temperatures: tuple[float, ...] = (0.5, 1.0, 1.15, 1.3)
    workers: int = 2


@dataclass(frozen=True)
class Recipe:
    """What `dreamserve-train recipe NAME` runs."""

    name: str
    env: EnvSpec
    collect: CollectConfig
    holdout: CollectConfig  # other seeds; never trained on
    vae: VAEConfig
    memory: str  # the core of M, a row of `models.catalog`
    memory_options: dict[str, Any]  # its arguments but for z_dim and action_dim
    train: TrainConfig
    batch_size: int
    sequence_length: int
    controller: ControllerConfig
    evaluate: EvaluateConfig
    constant_reward: float | None  # per step survived; None where M has a reward head
    done_threshold: float = 0.0
    bank_size: int = 256


def load_recipe(name: str) -> Recipe:
    """Return the recipe called `name`; ValueError lists the known ones."""
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}; there is {', '.join(RECIPES)}")
    recipe: Recipe = import_module(f"dreamserve_training.recipes.{name}").RECIPE
    return recipe


@dataclass(frozen=True)
class Workspace:
    """The files of a recipe's stages, all under one root."""

    root: Path
    core: str  # the recipe's `memory`, which names M's files

    def episodes(self, split: Split) -> Path:
        """Raw episodes, one file each."""
        return self.root / "episodes" / split

    def latents(self, split: Split) -> Path:
        """The same episodes, encoded by V."""
        return self.root / "latents" / split

    @property
    def vae(self) -> Path:
        """The sample of frames, V's checkpoints, and V."""
        return self.root / "vae"

    @property
    def vae_model(self) -> Path:
        """V, trained."""
        return self.vae / "vae_best.pth"

    @property
    def memory(self) -> Path:
        """M's checkpoints, and M."""
        return self.root / self.core

    @property
    def memory_model(self) -> Path:
        """M, trained."""
        return self.memory / f"{self.core}_best.pth"

    @property
    def draft(self) -> Path:
        """The world without its controller, as a bundle to evolve it in."""
        return self.root / "draft"

    @property
    def controller(self) -> Path:
        """The evolution's history and `controller.npz`."""
        return self.root / "controller"

    @property
    def seconds(self) -> Path:
        """How long each stage took, JSON."""
        return self.root / "seconds.json"

    @property
    def evaluation(self) -> Path:
        """Returns in the real environment and in the dream, JSON."""
        return self.root / "evaluation.json"


def write_json(path: Path, content: object) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic_write(path) as file:
        file.write(f"{json.dumps(content, indent=1)}\n".encode())


def read_json(path: Path, default: Any) -> Any:
    """Return what `path` holds, or `default` if there is no such file."""
    return json.loads(path.read_text()) if path.exists() else default
