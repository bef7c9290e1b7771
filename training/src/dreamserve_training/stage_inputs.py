"""What each stage of a recipe is made of: a stage is done while these are what they were.

A stage's inputs are its part of the recipe and the digests of the files that it reads.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dreamserve_training.data.digests import file_hash, files_digest
from dreamserve_training.data.encoding import ENCODER_FILE, FramesToLatentConverter
from dreamserve_training.recipe import ResolvedRecipe, Split, Workspace
from dreamserve_training.runs.records import Record, begin

Inputs = Mapping[str, Any]
SPLITS: tuple[Split, ...] = ("train", "holdout")


def _collect(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    if recipe.data is not None:
        train, holdout = map(files_digest, recipe.data.split())
        return {"env": recipe.env, "train": train, "holdout": holdout}
    return {"env": recipe.env, "collect": recipe.collect, "holdout": recipe.holdout}


def _vae(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    return {"vae": recipe.vae, "episodes": _digests(workspace.episodes)}


def _encode(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    return {"vae": _hash(workspace.vae_model), "episodes": _digests(workspace.episodes)}


def _memory(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    names = ("memory", "memory_options", "signals", "train", "batch_size", "sequence_length")
    return {**_fields(recipe, names), "latents": _digests(workspace.latents)}


def draft(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    """Return what the bundle in whose dreams C is trained is made of."""
    names = ("env", "constant_reward", "done_rule", "done_threshold", "bank")
    models = {"vae": _hash(workspace.vae_model), "memory": _hash(workspace.memory_model)}
    return {**_fields(recipe, names), **models, "latents": _digests(workspace.latents)}


def _controller(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    return {**draft(recipe, workspace), "controller": recipe.controller}


def _evaluate(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    controller = {"policy": _hash(workspace.controller / "controller.npz")}
    return {**_controller(recipe, workspace), **controller, "evaluate": recipe.evaluate}


def _export(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    evaluation = {"evaluation": _hash(workspace.evaluation)}
    return {**_evaluate(recipe, workspace), **evaluation}


INPUTS: Mapping[str, Callable[[ResolvedRecipe, Workspace], Inputs]] = {
    "collect": _collect,
    "vae": _vae,
    "encode": _encode,
    "memory": _memory,
    "controller": _controller,
    "evaluate": _evaluate,
    "export": _export,
}


def begin_encoding(
    episodes: Path, latents: Path, converter: FramesToLatentConverter, restart: bool
) -> None:
    """Note what the latents are encoded from. There may be more episodes than at the last time.

    Raises MismatchError for latents of other episodes or another encoder; with `restart` they are
    removed.
    """
    paths = sorted(episodes.glob("*.npz"))
    encoded = [latents / path.name for path in paths]
    gone = sorted({*latents.glob("*.npz")} - {*encoded})
    sources = {path.name: files_digest([path])["sha256"] for path in paths}
    record = Record("the encoding", {"encoder": converter.identity()}, {}, grows=sources)
    files = [*encoded, *gone, latents / ENCODER_FILE]
    reached = f"{gone[0].name} is there no more" if gone else ""
    begin(latents / "encode_run.json", record, files, reached=reached, restart=restart)


def _fields(recipe: ResolvedRecipe, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in names}


def _digests(folder: Callable[[Split], Path]) -> dict[str, Any]:
    return {split: files_digest(sorted(folder(split).glob("*.npz"))) for split in SPLITS}


def _hash(path: Path) -> str | None:
    return file_hash(path) if path.exists() else None
