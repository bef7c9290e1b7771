"""Options of a recipe that late stages read, checked before anything is collected."""

import re
from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from pydantic import ValidationError

from dreamserve.manifest import WorldSpec
from dreamserve.observations import FrameSpec
from dreamserve.spaces import ActionSpace
from dreamserve.validation import validated
from dreamserve_protocol.errors import CallerError, InvalidActionError
from dreamserve_protocol.plan import PlanRequest
from dreamserve_training.evaluation.plan_fields import check_plan_fields
from dreamserve_training.evaluation.real import AGENTS
from dreamserve_training.export.spec import world_spec
from dreamserve_training.models.catalog import CORES, make_memory
from dreamserve_training.models.controller import CONTROLLER_INPUTS
from dreamserve_training.recipe import Actions, ResolvedRecipe
from dreamserve_training.recipe_files import RecipeError
from dreamserve_training.train.controller import ControllerConfig
from dreamserve_training.train.ppo.config import Features, LearningConfig, PPOConfig, check_reward
from dreamserve_training.workspace import agent_file

_FILE_NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{,99}")


def check_baselines(baselines: Mapping[str, Actions], space: ActionSpace) -> None:
    """Raise RecipeError for a baseline without actions, or with actions outside `space`.

    Also for a name that an agent of the evaluation has, and for one that cannot be a file's.
    """
    taken = {agent_file(agent): agent for agent in AGENTS}
    for name, actions in baselines.items():
        if not _FILE_NAME.fullmatch(name):
            raise RecipeError(f"baselines: {name!r}: must be the name of a file, without / and \\")
        if (other := taken.setdefault(agent_file(name), name)) != name or name in AGENTS:
            raise RecipeError(f"baselines: {name!r}: choose another name than {other!r} has")
        if not len(actions):
            raise RecipeError(f"baselines: {name!r} has no actions")
        try:
            space.check(list(actions), leading=(len(actions),))
        except InvalidActionError as error:
            raise RecipeError(f"baselines: {name!r}: {error}") from error


def check_plan(fields: Mapping[str, Any]) -> None:
    """Raise RecipeError for fields that /plan does not take."""
    if "session_id" in fields:
        raise RecipeError("evaluate: plan: session_id: each episode has one of its own")
    try:
        validated(PlanRequest, {"session_id": "plan", **fields})
    except CallerError as error:
        raise RecipeError(f"evaluate: plan: {error}") from error


def check_world(recipe: ResolvedRecipe) -> None:
    """Raise RecipeError for an M that refuses its options, or a C that asks for what it lacks.

    M's weights take no memory here.
    """
    _check_done(recipe)
    _check_shares(recipe)
    _check_memory_options(recipe)
    options = {
        "z_dim": recipe.vae.z_dim,
        "action_space": recipe.env.action_space,
        "signals": {name: signal.head() for name, signal in recipe.signals.items()},
        **recipe.memory_options,
    }
    try:
        with torch.device("meta"):
            memory = make_memory(recipe.memory, **options)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"memory, memory_options: {error}") from error
    except RuntimeError:
        return  # a core that needs real numbers to be made; it is made when M is trained
    try:
        spec = world_spec(recipe.name, recipe.env, memory)
    except ValidationError as error:
        raise RecipeError(f"signals: {error.errors()[0]['msg']}") from error
    _check_learning(recipe, spec)
    try:
        check_plan_fields(spec, recipe.evaluate.plan)
    except CallerError as error:
        raise RecipeError(f"evaluate: plan: {error}") from error


def _check_shares(recipe: ResolvedRecipe) -> None:
    """Raise RecipeError for batches that the processes of a training of V or M cannot share."""
    if isinstance(recipe.env.observation, FrameSpec):  # the V of numbers is no training
        _check_share("vae", recipe.vae.devices * recipe.vae.num_nodes, recipe.vae.batch_size)
    processes = recipe.train.devices * recipe.train.num_nodes
    _check_share("train", processes, recipe.batch_size)
    if processes > 1 and recipe.train.carry_state:
        raise RecipeError("train: one process alone carries M's state (carry_state) over windows")


def _check_share(field: str, processes: int, rows: int) -> None:
    if rows < processes:
        raise RecipeError(
            f"{field}: {processes} processes cannot share batches of {rows}: take fewer devices, or"
            " a larger batch_size"
        )


def _check_memory_options(recipe: ResolvedRecipe) -> None:
    """Raise RecipeError for arguments that the core of M does not take."""
    if recipe.memory not in CORES:
        return  # refused where M is made
    known = sorted(signature(CORES[recipe.memory]).parameters)
    if unknown := sorted(set(recipe.memory_options) - set(known)):
        raise RecipeError(
            f"memory_options: {recipe.memory} has no option {unknown}; known: {', '.join(known)}"
        )


def _check_done(recipe: ResolvedRecipe) -> None:
    """Raise RecipeError for a rule of ends that M's training does not serve."""
    if recipe.done_rule == "drawn" and recipe.done_threshold is not None:
        raise RecipeError("give done_threshold only with done_rule='threshold'")
    if recipe.done_rule == "drawn" and recipe.train.done_pos_weight == 0:
        raise RecipeError("train: done_pos_weight must be above 0 with done_rule='drawn'")


def _check_learning(recipe: ResolvedRecipe, spec: WorldSpec) -> None:
    """Raise RecipeError for rewards or inputs of C that the world does not have."""
    learning = {"controller": recipe.controller, "finetune": recipe.finetune}
    for field, config in learning.items():
        if isinstance(config, LearningConfig):
            try:
                check_reward(spec, config.reward)
                Features.of(spec, config)
            except ValueError as error:
                raise RecipeError(f"{field}: {error}") from error
    width = spec.action_space.width
    if isinstance(recipe.controller, ControllerConfig) and recipe.controller.form.actions != width:
        raise RecipeError(
            f"controller: form: {recipe.controller.form} is for another action space; this one has"
            f" {width} scores"
        )
    missing = sorted(set(CONTROLLER_INPUTS) - set(spec.tensor_sizes()))
    if missing and not isinstance(recipe.controller, PPOConfig):
        raise RecipeError(f"controller: CMA-ES needs an M with {missing}; use method='ppo'")
