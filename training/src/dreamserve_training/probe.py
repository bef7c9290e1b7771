"""What the environment of a recipe tells of itself, or the recorded data.

The environment is asked once; its answers are kept in the run's folder, so later stages need no
environment.
"""

import contextlib
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
from dreamserve_training.data.collect import CollectConfig, record_episode
from dreamserve_training.data.episodes import episode_paths, read_headers
from dreamserve_training.data.signals import check_recorded, signal_values
from dreamserve_training.env_specs import Wishes, observation_spec, step_limit
from dreamserve_training.envs import EnvSpec, RealEnv, env_name, make_env
from dreamserve_training.models.vectors import VectorScale
from dreamserve_training.overrides import with_options
from dreamserve_training.recipe import Recipe
from dreamserve_training.recipe_files import RecipeError
from dreamserve_training.recorded import recorded_spec
from dreamserve_training.workspace import Workspace, read_json, write_json

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

    Raises MissingEnvironmentError if it is not installed, and UnsupportedEnvironmentError, which
    says what would be right, if no world can be trained on it.
    """
    if recipe.env is None:
        return _recorded(recipe)
    asked = repr((_wishes(recipe), env_name(recipe.env), recipe.part))
    if workspace is not None:
        known = read_json(workspace.environment, default={})
        if known.get("asked") == asked:
            return _remembered(recipe, known)
    # Elsewhere, as workers do: a game may leave files in its working directory.
    with tempfile.TemporaryDirectory(prefix="probe-") as folder, contextlib.chdir(folder):
        probed = _ask(recipe)
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
    return probed


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


def _recorded(recipe: Recipe) -> Probed:
    if recipe.data is None:
        raise RecipeError("a recipe needs env=..., data=Data(...), or both")
    described = recipe.data.description()
    spec = recorded_spec(recipe.data, _wishes(recipe))
    first = episode_paths(recipe.data.folder)[0]
    check_recorded(recipe.signals, set(read_headers(first)), first)
    return Probed(spec, described.steps / described.episodes, described.steps)


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
    real = RealEnv(spec, env)
    try:
        mean_steps = _mean_steps(
            real, with_options("collect", CollectConfig(), recipe.collect), recipe
        )
    finally:
        env.close()
    return Probed(spec, mean_steps)


def _part(recipe: Recipe, env: Any) -> str | None:
    """Return the key of a Dict observation; the only key of a Dict need not be said."""
    keys = getattr(env.observation_space, "spaces", None)
    if recipe.part is None and isinstance(keys, dict):
        return str(next(iter(keys)))
    return recipe.part


def _mean_steps(env: RealEnv, config: CollectConfig, recipe: Recipe) -> float:
    """Return the mean length of the first episodes, which takes PROBE_STEPS steps or more."""
    config = replace(config, policy=recipe.policy)
    first = record_episode(env, config, config.seed)
    check_recorded(recipe.signals, set(first), env.spec.env_id)
    if recipe.signals:
        signal_values(recipe.signals, first, env.spec.env_id)
    episodes = [first]
    while sum(len(episode["actions"]) for episode in episodes) < PROBE_STEPS:
        episodes.append(record_episode(env, config, config.seed + len(episodes)))
    if "vectors" in first:  # numbers beyond V's scale are refused now, not when all is collected
        VectorScale.fitted(torch.from_numpy(np.concatenate([each["vectors"] for each in episodes])))
    return float(np.mean([len(episode["actions"]) for episode in episodes]))
