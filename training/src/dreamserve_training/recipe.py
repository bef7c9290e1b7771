"""A recipe: all options of one world, from the environment to the bundle, as data."""

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
    """Options of the controller's evaluation in the real environment and in dreams."""

    episodes: int = 100
    seed: int = 2_000_000  # of the first episode; data is collected with smaller seeds
    sweeps: tuple[int, ...] = (60, 90, 110, 130, 150, 180)  # steps each direction is held
    dream_temperatures: tuple[float, ...] = (0.5, 1.0, 1.15, 1.3)
    workers: int = 2


@dataclass(frozen=True)
class Recipe:
    """The options of every stage of `dreamserve-train recipe NAME`."""

    name: str
    env: EnvSpec
    collect: CollectConfig
    holdout: CollectConfig  # episodes with other seeds, never trained on
    vae: VAEConfig
    memory: str  # the core of M, a key of `models.catalog.CORES`
    memory_options: dict[str, Any]  # the core's arguments except z_dim and action_dim
    train: TrainConfig
    batch_size: int
    sequence_length: int
    controller: ControllerConfig
    evaluate: EvaluateConfig
    constant_reward: float | None  # reward of every step; None if M predicts it
    done_threshold: float = 0.0
    bank_size: int = 256


def load_recipe(name: str) -> Recipe:
    """Return the recipe called `name`. An unknown name raises ValueError, which lists all."""
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}; known recipes: {', '.join(RECIPES)}")
    recipe: Recipe = import_module(f"dreamserve_training.recipes.{name}").RECIPE
    return recipe


@dataclass(frozen=True)
class Workspace:
    """Paths of the files that the stages read and write, all under `root`."""

    root: Path
    core: str  # the recipe's `memory`; M's files are named after it
    restart: bool = False  # remove what was made of other settings or data

    def inputs(self, name: str) -> Path:
        """What a stage, or another product, was last made of, JSON."""
        return self.root / "inputs" / f"{name}.json"

    def episodes(self, split: Split) -> Path:
        """Folder of raw episodes, one file each."""
        return self.root / "episodes" / split

    def latents(self, split: Split) -> Path:
        """Folder of the same episodes, encoded by V."""
        return self.root / "latents" / split

    @property
    def vae(self) -> Path:
        """Folder of the frame sample, V's checkpoints and the trained V."""
        return self.root / "vae"

    @property
    def vae_model(self) -> Path:
        """The trained V."""
        return self.vae / "vae_best.pth"

    @property
    def memory(self) -> Path:
        """Folder of M's checkpoints and the trained M."""
        return self.root / self.core

    @property
    def memory_model(self) -> Path:
        """The trained M."""
        return self.memory / f"{self.core}_best.pth"

    @property
    def draft(self) -> Path:
        """The bundle without a controller, in whose dreams C is evolved."""
        return self.root / "draft"

    @property
    def controller(self) -> Path:
        """Folder of the evolution's history and `controller.npz`."""
        return self.root / "controller"

    @property
    def seconds(self) -> Path:
        """Duration of each stage in seconds, JSON."""
        return self.root / "seconds.json"

    @property
    def evaluation(self) -> Path:
        """Returns in the real environment and in dreams, JSON."""
        return self.root / "evaluation.json"


def write_json(path: Path, content: object) -> None:
    """Write `content` to `path` as JSON, atomically."""
    with atomic_write(path) as file:
        file.write(f"{json.dumps(content, indent=1)}\n".encode())


def read_json(path: Path, default: Any) -> Any:
    """Return the JSON content of `path`, or `default` if the file does not exist."""
    return json.loads(path.read_text()) if path.exists() else default
