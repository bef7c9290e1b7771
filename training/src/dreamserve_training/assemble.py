"""Assemble bundles from the stages' files: a draft to evolve C in, then the final one."""

from pathlib import Path
from typing import Any

from dreamserve.loading import load_world
from dreamserve.manifest import WorldSpec
from dreamserve_training.evaluation.measure import card_pictures, measure_world
from dreamserve_training.export import (
    Picture,
    export_world,
    make_bank,
    round_to_half,
    world_spec,
)
from dreamserve_training.models.catalog import load_memory
from dreamserve_training.models.controller import LinearPolicy, load_policy
from dreamserve_training.models.vae import ConvVAE, load_vae
from dreamserve_training.models.world_model import WorldModel
from dreamserve_training.origin import origin_of
from dreamserve_training.recipe import Recipe, Workspace, read_json


def write_draft(recipe: Recipe, workspace: Workspace) -> Path:
    """Write the bundle without controller and measurements, in whose dreams C is evolved."""
    return _write(recipe, workspace, workspace.draft, None, {}, {})


def write_bundle(recipe: Recipe, workspace: Workspace, bundle: Path) -> Path:
    """Measure the world on held-out episodes and write its bundle with controller and card."""
    world = load_world(workspace.draft)
    held_out = workspace.episodes("holdout"), workspace.latents("holdout")
    evaluation = read_json(workspace.evaluation, default=None)
    quality = {
        **measure_world(world.backend, world.spec, *held_out),
        "real": evaluation["real"],
        "dream": {f"T = {t}": figures for t, figures in evaluation["dream"].items()},
    }
    pictures = card_pictures(world.backend, world.spec, *held_out)
    policy = load_policy(workspace.controller / "controller.npz")
    return _write(recipe, workspace, bundle, policy, quality, pictures)


def _write(
    recipe: Recipe,
    workspace: Workspace,
    out: Path,
    policy: LinearPolicy | None,
    quality: dict[str, Any],
    pictures: dict[str, Picture],
) -> Path:
    vae, memory = load_models(workspace)
    return export_world(
        out,
        spec=spec_of_recipe(recipe, memory),
        vae=vae,
        memory=memory,
        bank=make_bank(memory, workspace.latents("train"), recipe.bank_size),
        origin=origin_of(recipe, workspace),
        quality=quality,
        controller=policy,
        pictures=pictures,
    )


def load_models(workspace: Workspace) -> tuple[ConvVAE, WorldModel]:
    """Return V and M as they are served: with weights rounded to half precision."""
    vae = load_vae(workspace.vae_model)
    return round_to_half(vae, load_memory(workspace.memory_model))


def spec_of_recipe(recipe: Recipe, memory: WorldModel) -> WorldSpec:
    """Return the spec of the recipe's world."""
    return world_spec(
        recipe.name,
        recipe.env,
        memory,
        done_threshold=recipe.done_threshold,
        constant_reward=recipe.constant_reward,
    )
