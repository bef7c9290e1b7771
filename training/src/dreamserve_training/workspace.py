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
    before: "Workspace | None" = None  # of the pass before an iteration: its V, and its data, too

    def passes(self) -> "list[Workspace]":
        """Return the workspaces of all passes up to this one."""
        return [*(self.before.passes() if self.before else ()), self]

    def next(self) -> "Workspace":
        """Return the workspace of the next iteration."""
        first, number = self.passes()[0], len(self.passes())
        return replace(self, root=first.root / "iterations" / str(number), before=self)

    def inputs(self, name: str) -> Path:
        """What a stage, or another product, was last made of, JSON."""
        return self.root / "inputs" / f"{name}.json"

    def episodes(self, split: Split) -> Path:
        """Folder of raw episodes, one file each."""
        return self.root / "episodes" / split

    def latents(self, split: Split) -> Path:
        """Folder of the same episodes, encoded by V."""
        return self.root / "latents" / split

    def all_episodes(self, split: Split) -> list[Path]:
        """Folders of raw episodes of this pass and those before it."""
        return [workspace.episodes(split) for workspace in self.passes()]

    def all_latents(self, split: Split) -> list[Path]:
        """Folders of latent episodes of this pass and those before it."""
        return [workspace.latents(split) for workspace in self.passes()]

    @property
    def environment(self) -> Path:
        """What the environment told of itself, JSON."""
        return self.passes()[0].root / "environment.json"

    @property
    def vae(self) -> Path:
        """Folder of the frame sample, V's checkpoints and the trained V."""
        return self.passes()[0].root / "vae"

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

    def played(self, agent: str) -> Path:
        """Returns of an agent in the real environment, JSON."""
        return self.root / "played" / f"{agent.replace(' ', '-')}.json"

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
