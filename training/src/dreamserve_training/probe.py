"""What the environment of a recipe tells of itself, or the recorded data.

The environment is asked once; its answers are kept in the run's folder, so later stages need no
environment.
"""

import contextlib
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from dreamserve.observations import ObservationSpec
from dreamserve.spaces import ActionSpace
from dreamserve_training.action_specs import action_spec
from dreamserve_training.data.checks import darkness
from dreamserve_training.data.collect import CollectConfig, code_digests, record_episode
from dreamserve_training.data.signals import check_recorded, signal_values
from dreamserve_training.env_specs import Wishes, limit_as_played, observation_spec, step_limit
from dreamserve_training.envs import (
    EnvSpec,
    MissingEnvironmentError,
    RealEnv,
    env_name,
    make_env,
    running,
)
from dreamserve_training.known_data import told_by
from dreamserve_training.models.vectors import VectorScale
from dreamserve_training.overrides import with_options
from dreamserve_training.recipe import Recipe
from dreamserve_training.recipe_files import RecipeError
from dreamserve_training.recorded import recorded_spec
from dreamserve_training.runs.records import describe
from dreamserve_training.workspace import Workspace, read_json, write_json

logger = logging.getLogger("dreamserve_training")
PROBE_STEPS = 1000  # of episodes that are played to learn how long they are
_OBSERVATION: TypeAdapter[ObservationSpec] = TypeAdapter(ObservationSpec)
_ACTIONS: TypeAdapter[ActionSpace] = TypeAdapter(ActionSpace)


@dataclass(frozen=True)
class Probed:
    """What the environment told of itself."""

    env: EnvSpec
    mean_steps: float  # of an episode, played as the recipe collects or recorded
    steps: int | None = None  # of all recorded data


def probe(recipe: Recipe, workspace: Workspace | None = None) -> Probed:
    """Ask the environment, or return what it told before in this workspace.

    It is asked again if what it is asked, its code in the recipe's file, or how it is played has
    changed, and with `restart`.

    Raises MissingEnvironmentError if it is not installed, and UnsupportedEnvironmentError, which
    says what would be right, if no world can be trained on it.
    """
    if recipe.env is None:
        return _recorded(recipe, workspace)
    asked = _question(recipe)
    known = {} if workspace is None else read_json(workspace.environment, default={})
    is_known = known.get("asked") == asked
    if is_known and not (workspace and workspace.restart):
        return _with_data(recipe, workspace, _remembered(recipe, known))
    try:
        # Elsewhere, as workers do: a game may leave files in its working directory.
        with tempfile.TemporaryDirectory(prefix="probe-") as folder, contextlib.chdir(folder):
            probed = _ask(recipe)
    except MissingEnvironmentError:
        if is_known:  # a later stage starts over on a machine without the environment
            return _with_data(recipe, workspace, _remembered(recipe, known))
        raise
    if workspace is not None:
        answers = {
            "asked": asked,
            "env_id": probed.env.env_id,
            "observation": _OBSERVATION.dump_python(probed.env.observation, mode="json"),
            "action_space": _ACTIONS.dump_python(probed.env.action_space, mode="json"),
            "max_episode_steps": probed.env.max_episode_steps,
            "part": probed.env.part,
            "mean_steps": probed.mean_steps,
        }
        write_json(workspace.environment, answers)
    return _with_data(recipe, workspace, probed)


def _question(recipe: Recipe) -> Any:
    """Return all that the answers depend on, as JSON: another environment has other answers."""
    collect = replace(_collect(recipe), episodes=1)  # however many there will be
    return describe(
        {
            "wishes": _wishes(recipe),
            "env": env_name(recipe.env) if callable(recipe.env) else recipe.env,
            "collect": collect,
            "signals": recipe.signals,
            **code_digests(recipe.env, recipe.record, recipe.policy),
        }
    )


def _collect(recipe: Recipe) -> CollectConfig:
    return with_options("collect", CollectConfig(policy=recipe.policy), recipe.collect)


def _wishes(recipe: Recipe) -> Wishes:
    crop, size = recipe.crop, recipe.size
    return Wishes(
        recipe.part,
        crop if crop is None else (crop[0], crop[1], crop[2], crop[3]),
        size if size is None else (size[0], size[1]),
        None if recipe.action_names is None else tuple(recipe.action_names),
        recipe.max_episode_steps,
        None if recipe.observation_names is None else tuple(recipe.observation_names),
    )


def _recorded(recipe: Recipe, workspace: Workspace | None) -> Probed:
    if recipe.data is None:
        raise RecipeError("a recipe needs env=..., data=Data(...), or both")
    told = told_by(recipe.data, workspace)
    described = told.described or recipe.data.description()  # which says what it lacks
    spec = recorded_spec(described, told.longest, _wishes(recipe))
    check_recorded(recipe.signals, set(told.names), told.first)
    return _with_data(recipe, workspace, Probed(spec, 1.0))


def _with_data(recipe: Recipe, workspace: Workspace | None, probed: Probed) -> Probed:
    """Return `probed` with the steps of the recipe's recorded data, if it has some."""
    if recipe.data is None:
        return probed
    told = told_by(recipe.data, workspace)
    return replace(probed, mean_steps=told.steps / told.episodes, steps=told.steps)


def _remembered(recipe: Recipe, known: Mapping[str, Any]) -> Probed:
    spec = EnvSpec(
        recipe.env,
        known["env_id"],
        _OBSERVATION.validate_python(known["observation"]),
        _ACTIONS.validate_python(known["action_space"]),
        known["max_episode_steps"],
        known["part"],
        recipe.record,
        recipe.install,
    )
    return Probed(spec, known["mean_steps"])


def _ask(recipe: Recipe) -> Probed:
    assert recipe.env is not None
    wishes, env = _wishes(recipe), make_env(recipe.env, recipe.install)
    name = env_name(recipe.env)
    spec = EnvSpec(
        recipe.env,
        name,
        observation_spec(env.observation_space, wishes, name),
        action_spec(env.action_space, env, wishes, name),
        step_limit(env, wishes),
        _part(recipe, env),
        recipe.record,
        recipe.install,
    )
    try:
        lengths, truncated = _lengths(RealEnv(spec, env), recipe)
    finally:
        with running(f"{name}: closing it"):
            env.close()
    limit = limit_as_played(lengths, truncated, spec.max_episode_steps, wishes, name)
    return Probed(replace(spec, max_episode_steps=limit), float(np.mean(lengths)))


def _part(recipe: Recipe, env: Any) -> str | None:
    """Return the key of a Dict observation; the only key of a Dict need not be said."""
    keys = getattr(env.observation_space, "spaces", None)
    if recipe.part is None and isinstance(keys, dict):
        return str(next(iter(keys)))
    return recipe.part


def _lengths(env: RealEnv, recipe: Recipe) -> tuple[list[int], list[bool]]:
    """Return the lengths of the first episodes, PROBE_STEPS or more in all.

    Also whether the environment has truncated each.
    """
    config = _collect(recipe)
    first = record_episode(env, config, config.seed)
    check_recorded(recipe.signals, set(first), env.spec.env_id)
    if recipe.signals:
        signal_values(recipe.signals, first, env.spec.env_id)
    episodes, truncated = [first], [env.is_cut]
    while sum(len(episode["actions"]) for episode in episodes) < PROBE_STEPS:
        episodes.append(record_episode(env, config, config.seed + len(episodes)))
        truncated.append(env.is_cut)
    if "frames" in first:
        brightest = max(int(episode["frames"].max()) for episode in episodes)
        if fault := darkness(brightest):
            logger.warning("%s: in the first episodes %s; scale them", env.spec.env_id, fault)
    if "vectors" in first:  # numbers beyond V's scale are refused now, not when all is collected
        VectorScale.fitted(torch.from_numpy(np.concatenate([each["vectors"] for each in episodes])))
    return [len(episode["actions"]) for episode in episodes], truncated
