"""The origin of a world: the data, options and versions needed to train it again."""

import os
import platform
import subprocess
import zipfile
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dreamserve_training.data.episodes import episode_paths
from dreamserve_training.recipe import ResolvedRecipe, Workspace, read_json

PACKAGES = ("vizdoom", "gymnasium", "torch", "lightning", "cma", "dreamserve-training")


def origin_of(recipe: ResolvedRecipe, workspace: Workspace) -> dict[str, Any]:
    """Return `manifest.origin`: environment, data, seeds, options, versions and training times."""
    splits = ("train", "holdout")
    return {
        "environment": recipe.env.env_id,
        "max_episode_steps": recipe.env.max_episode_steps,
        "recipe": recipe.name,
        "episodes": {split: len(episode_paths(workspace.episodes(split))) for split in splits},
        "data_sha256": {split: data_hash(workspace.episodes(split)) for split in splits},
        "first_seed": {"train": recipe.collect.seed, "holdout": recipe.holdout.seed},
        "vae": asdict(recipe.vae),
        recipe.memory: recipe.memory_options,
        "train": asdict(recipe.train),
        "controller": asdict(recipe.controller),
        "commit": _commit(),
        "versions": {name: _version(name) for name in PACKAGES},
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()})",
        "stage_seconds": read_json(workspace.seconds, default={}),
    }


def data_hash(directory: Path) -> str:
    """Return the SHA-256 of the episodes' file names and of the CRC-32 of each array in them."""
    digest = sha256()
    for path in episode_paths(directory):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                line = f"{path.name} {member.filename} {member.file_size} {member.CRC:08x}\n"
                digest.update(line.encode())
    return digest.hexdigest()


def _commit() -> str:
    command = ["git", "rev-parse", "HEAD"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # installed from a package, not from a checkout


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
