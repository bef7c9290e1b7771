"""The origin of a world: the data, options and versions needed to train it again."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from dreamserve_training.data.digests import files_digest
from dreamserve_training.data.episodes import SPLITS, episode_paths
from dreamserve_training.recipe import ResolvedRecipe
from dreamserve_training.runs.records import describe, installed
from dreamserve_training.workspace import Workspace, read_json

PACKAGES = ("box2d", "vizdoom", "gymnasium", "torch", "lightning", "cma", "dreamserve-training")

OPTIONS = (  # of a pass, beside those of M's core
    *("vae", "train", "batch_size", "sequence_length", "signals", "constant_reward", "done_rule"),
    *("done_threshold", "bank", "controller", "evaluate"),
)


def origin_of(recipe: ResolvedRecipe, workspace: Workspace) -> dict[str, Any]:
    """Return `manifest.origin`: environment, data, seeds, options, versions and training times."""
    digests = {
        split: files_digest(episode_paths(workspace.all_episodes(split))) for split in SPLITS
    }
    passes, first = recipe.passes(), recipe.passes()[0]
    return {
        "environment": recipe.env.env_id,
        "max_episode_steps": recipe.env.max_episode_steps,
        "recipe": recipe.name,
        "episodes": {split: digests[split]["files"] for split in SPLITS},
        "data_sha256": {split: digests[split]["sha256"] for split in SPLITS},
        **({} if first.played_by is None else _collected(first)),
        **_options(recipe),
        "baselines": [name for name, _ in recipe.baselines],
        **({"finetune": describe(recipe.finetune)} if recipe.finetune else {}),
        **({"first pass": _options(first)} if not first.last else {}),
        **{f"iteration {each.number}": _iteration(each) for each in passes[1:]},
        "commit": _commit(),
        "versions": {name: installed(name) for name in PACKAGES},
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()})",
        "stage_seconds": _seconds(workspace),
    }


def _collected(first: ResolvedRecipe) -> dict[str, Any]:
    return {
        "first_seed": {"train": first.collect.seed, "holdout": first.holdout.seed},
        "collect": describe(first.collect),
    }


def _options(recipe: ResolvedRecipe) -> dict[str, Any]:
    named = {name: describe(getattr(recipe, name)) for name in OPTIONS}
    return {recipe.memory: describe(recipe.memory_options), **named}


def _iteration(recipe: ResolvedRecipe) -> dict[str, Any]:
    """Return how an iteration collected, and its options; those of the last are the world's."""
    return {
        "episodes": recipe.collect.episodes,
        "players": dict(recipe.players),
        "exploration": describe(recipe.exploration),
        **({"epochs": recipe.train.epochs} if recipe.last else _options(recipe)),
    }


def _seconds(workspace: Workspace) -> dict[str, float]:
    """Return how long each stage took: its name, followed by the number of its iteration."""
    return {
        stage if number == 0 else f"{stage} {number}": seconds
        for number, each in enumerate(workspace.passes())
        for stage, seconds in read_json(each.seconds, default={}).items()
    }


def _commit() -> str:
    command = ["git", "rev-parse", "HEAD"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # installed from a package, not from a checkout
