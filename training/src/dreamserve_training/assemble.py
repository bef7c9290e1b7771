"""Assemble bundles from the stages' files: a draft to evolve C in, then the final one."""

import logging
from collections.abc import Mapping
from math import log
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dreamserve.loading import load_world
from dreamserve.manifest import DoneRule
from dreamserve.trust import UNTRUSTED
from dreamserve_training.data.episodes import Folders
from dreamserve_training.evaluation.measure import (
    card_pictures,
    measure_memory,
    measure_world,
    memory_figures,
)
from dreamserve_training.evaluation.prediction import break_even_threshold
from dreamserve_training.evaluation.teacher_forcing import load_latents, teacher_force
from dreamserve_training.evaluation.verdicts import verdicts_on
from dreamserve_training.experience import experience_of
from dreamserve_training.export import (
    ModelBackend,
    Picture,
    export_world,
    make_bank,
    round_to_half,
    world_spec,
)
from dreamserve_training.judging import pass_figures
from dreamserve_training.models.catalog import Vision, load_memory, load_vision
from dreamserve_training.models.controller import LayeredPolicy, load_policy
from dreamserve_training.models.world_model import WorldModel
from dreamserve_training.origin import origin_of
from dreamserve_training.recipe import ResolvedRecipe
from dreamserve_training.runs.records import describe, differences
from dreamserve_training.stage_inputs import policy_path
from dreamserve_training.workspace import Workspace, read_json, write_json

logger = logging.getLogger("dreamserve_training")


def memory_options(recipe: ResolvedRecipe, workspace: Workspace) -> dict[str, Any]:
    """Return the arguments of M's core: sizes, what it predicts, and the recipe's options."""
    experience = experience_of(recipe, workspace)
    predicts_reward = experience.constant_reward is None
    scale = {"reward_mean": experience.reward_mean, "reward_scale": experience.reward_std}
    return {
        "z_dim": recipe.vae.z_dim,
        "action_space": recipe.env.action_space,
        "predict_reward": predicts_reward,
        "predict_done": experience.ends,
        "signals": {name: signal.head() for name, signal in recipe.signals.items()},
        **(scale if predicts_reward else {}),
        **recipe.memory_options,
    }


def memory_to_go_on(model: WorldModel, workspace: Workspace) -> Path | None:
    """Return the M of the pass before, from whose weights `model` begins; None in the first pass.

    None, too, for another M: the recipe's options changed, or the data now has what the M before
    cannot predict, such as the first ends or rewards.
    """
    if workspace.before is None:
        return None
    path = workspace.before.memory_model
    old, new = (describe(each.config) for each in (load_memory(path), model))
    if lines := differences(old, new):
        logger.warning("M begins anew, because it is another one: %s", "; ".join(lines))
        return None
    return path


def write_draft(recipe: ResolvedRecipe, workspace: Workspace) -> Path:
    """Write the bundle without controller and measurements, in whose dreams C is trained."""
    vision, memory = load_models(recipe, workspace)
    threshold = 0.0 if recipe.done_rule == "drawn" else recipe.done_threshold
    if threshold is None:
        spec = world_spec(recipe.name, recipe.env, memory, **_reward(recipe, workspace, memory))
        backend = ModelBackend(spec, vision, memory)
        runs = teacher_force(backend, spec, load_latents(workspace.all_latents("holdout")))
        threshold = break_even_threshold(runs)
    write_json(workspace.done_threshold, threshold)
    return _write(recipe, workspace, workspace.draft, recipe.bank.draft or recipe.bank.size)


def write_bundle(recipe: ResolvedRecipe, workspace: Workspace, bundle: Path) -> list[str]:
    """Measure the world on held-out episodes, write its bundle, and return the verdicts on it."""
    world = load_world(workspace.draft)
    held_out = workspace.all_episodes("holdout"), workspace.all_latents("holdout")
    evaluation = read_json(workspace.evaluation, default=None)
    quality = {
        **measure_world(
            world.backend,
            world.spec,
            *held_out,
            signals=recipe.signals,
            done_positive=recipe.train.done_pos_weight or 1.0,
        ),
        **({"real": evaluation["real"]} if evaluation["real"] else {}),
        **({"differences": evaluation["differences"]} if evaluation["differences"] else {}),
        "dream": {f"T = {t}": figures for t, figures in evaluation["dream"].items()},
    }
    if workspace.before is not None:
        quality["passes"] = _passes(recipe, workspace, quality)
    verdicts = verdicts_on(quality)
    quality = {"verdicts": verdicts or ["none: nothing is worse than its baseline"], **quality}
    pictures = card_pictures(world.backend, world.spec, *held_out)
    policy = load_policy(policy_path(recipe, workspace))
    _write(
        recipe,
        workspace,
        bundle,
        recipe.bank.size,
        controller=policy,
        quality=quality,
        pictures=pictures,
        draft=workspace.draft,
    )
    return verdicts


def _passes(
    recipe: ResolvedRecipe, workspace: Workspace, quality: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the figures of C and M of every pass; all Ms predict the same held-out episodes.

    An M of latents of another V than the last one's cannot be compared, and has no figures.
    """
    held_out, figures = workspace.all_latents("holdout"), pass_figures(workspace)
    earlier = zip(recipe.passes()[:-1], workspace.passes()[:-1], strict=True)
    measured = [
        _memory_figures(options, each, held_out) if each.vae == workspace.vae else {}
        for options, each in earlier
    ]
    of_memory = [*measured, memory_figures(quality)]
    return {
        name: {**of_controller, **each}
        for (name, of_controller), each in zip(figures.items(), of_memory, strict=True)
    }


def _memory_figures(
    recipe: ResolvedRecipe, workspace: Workspace, held_out: Folders
) -> dict[str, float]:
    world, done_positive = load_world(workspace.draft), recipe.train.done_pos_weight or 1.0
    return memory_figures(
        measure_memory(world.backend, world.spec, held_out, done_positive=done_positive)
    )


def _write(
    recipe: ResolvedRecipe,
    workspace: Workspace,
    out: Path,
    moments: int,
    controller: LayeredPolicy | None = None,
    quality: Mapping[str, Any] = MappingProxyType({}),
    pictures: Mapping[str, Picture] | None = None,
    draft: Path | None = None,
) -> Path:
    vision, memory = load_models(recipe, workspace)
    threshold = read_json(workspace.done_threshold, default=0.0)
    spec = world_spec(
        recipe.name,
        recipe.env,
        memory,
        done=DoneRule(rule=recipe.done_rule, threshold=threshold),
        **_reward(recipe, workspace, memory),
    )
    return export_world(
        out,
        spec=spec,
        vae=vision,
        memory=memory,
        bank=make_bank(
            memory,
            workspace.all_latents("train"),
            moments,
            seed=recipe.bank.seed,
            beginnings=recipe.bank.beginnings,
            late=recipe.bank.late,
        ),
        origin=origin_of(recipe, workspace),
        quality=quality,
        controller=controller,
        pictures=pictures,
        max_bytes=UNTRUSTED.max_bundle_bytes,  # what a server loads
        draft=draft,
    )


def load_models(recipe: ResolvedRecipe, workspace: Workspace) -> tuple[Vision, WorldModel]:
    """Return V and M as they are served: with weights rounded to half precision.

    Of ends that are drawn, the weight of positives in training is undone: the sigmoid of the done
    logit is then the end's probability.
    """
    memory = load_memory(workspace.memory_model)
    if recipe.done_rule == "drawn":
        memory.shift_done_logit(-log(recipe.train.done_pos_weight))
    return round_to_half(load_vision(workspace.vae_model), memory)


def _reward(recipe: ResolvedRecipe, workspace: Workspace, memory: WorldModel) -> dict[str, Any]:
    """Return the reward of every step, for a model that predicts none."""
    if memory.predict_reward:
        return {"constant_reward": None}
    return {"constant_reward": experience_of(recipe, workspace).constant_reward}
