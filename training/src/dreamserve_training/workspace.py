"""The files of a run: where the stages of each pass read and write."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dreamserve_training.data.episodes import Split
from dreamserve_training.files import atomic_write


@dataclass(frozen=True)
class Workspace:
    """Paths of the files that the stages of one pass read and write, all under `root`."""

    root: Path
    core: str  # the recipe's `memory`; M's files are named after it
    restart: bool = False  # remove what was made of other settings or data
    before: "Workspace | None" = None  # of the pass before an iteration
    trains_vae: bool = True  # whether this pass trains V; else it has that of the pass before

    def passes(self) -> "list[Workspace]":
        """Return the workspaces of all passes up to this one."""
        return [*(self.before.passes() if self.before else ()), self]

    def next(self, trains_vae: bool = False) -> "Workspace":
        """Return the workspace of the next iteration."""
        first, number = self.passes()[0], len(self.passes())
        root = first.root / "iterations" / str(number)
        return replace(self, root=root, before=self, trains_vae=trains_vae)

    def inputs(self, name: str) -> Path:
        """What a stage, or another product, was last made of, JSON."""
        return self.root / "inputs" / f"{name}.json"

    def episodes(self, split: Split) -> Path:
        """Folder of raw episodes, one file each."""
        return self.root / "episodes" / split

    def all_episodes(self, split: Split) -> list[Path]:
        """Folders of raw episodes of this pass and those before it."""
        return [workspace.episodes(split) for workspace in self.passes()]

    def all_latents(self, split: Split) -> list[Path]:
        """Folders of the same episodes, encoded by the V of this pass.

        A pass that trains V encodes the episodes of the passes before it again.
        """
        trainer = self._vae_trainer()
        number = len(trainer.passes()) - 1
        again = [trainer.root / "latents" / f"{split}-of-pass-{before}" for before in range(number)]
        return again + [each.root / "latents" / split for each in self.passes()[number:]]

    def to_encode(self, split: Split) -> list[tuple[Path, Path]]:
        """Folders of raw episodes that this pass encodes, and of their latents."""
        folders = list(zip(self.all_episodes(split), self.all_latents(split), strict=True))
        return folders if self.trains_vae else folders[-1:]

    @property
    def recipe(self) -> Path:
        """How many `iterations` the run's recipe has, and whether C learns in reality, JSON."""
        return self.passes()[0].root / "recipe.json"

    @property
    def environment(self) -> Path:
        """What the environment told of itself, JSON."""
        return self.passes()[0].root / "environment.json"

    @property
    def recorded(self) -> Path:
        """What recorded data told of itself, JSON."""
        return self.passes()[0].root / "recorded.json"

    @property
    def vae(self) -> Path:
        """Folder of the frame sample, V's checkpoints and the trained V."""
        return self._vae_trainer().root / "vae"

    def _vae_trainer(self) -> "Workspace":
        """Return the last pass up to this one that trains V."""
        return next(each for each in reversed(self.passes()) if each.trains_vae)

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
    def done_threshold(self) -> Path:
        """The threshold of the done logit, JSON."""
        return self.root / "done_threshold.json"

    @property
    def draft(self) -> Path:
        """The bundle without a controller, in whose dreams C is trained."""
        return self.root / "draft"

    @property
    def controller(self) -> Path:
        """Folder of the training of C and `controller.npz`."""
        return self.root / "controller"

    @property
    def finetuned(self) -> Path:
        """Folder of C's learning in the real environment and its `controller.npz`."""
        return self.root / "finetune"

    def played(self, agent: str) -> Path:
        """Returns of an agent in the real environment, JSON."""
        return self.root / "played" / agent_file(agent)

    @property
    def seconds(self) -> Path:
        """Duration of each stage in seconds, JSON."""
        return self.root / "seconds.json"

    @property
    def evaluation(self) -> Path:
        """Returns in the real environment and in dreams, JSON."""
        return self.root / "evaluation.json"

    @property
    def exported(self) -> Path:
        """The version of the bundle that was exported last, JSON."""
        return self.root / "exported.json"


def agent_file(agent: str) -> str:
    """Return the name of the file of an agent's returns."""
    return f"{agent.replace(' ', '-')}.json"


def write_json(path: Path, content: object) -> None:
    """Write `content` to `path` as JSON, atomically."""
    with atomic_write(path) as file:
        file.write(f"{json.dumps(content, indent=1)}\n".encode())


def read_json(path: Path, default: Any) -> Any:
    """Return the JSON content of `path`, or `default` if the file does not exist.

    ValueError, which names the file, if it is not JSON.
    """
    try:
        return json.loads(path.read_text()) if path.exists() else default
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); remove it, to make it again") from error
