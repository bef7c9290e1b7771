"""Everything that a recipe leaves out: it follows from the environment and from the experience.

The environment is asked once; its answers are kept in the run's folder, so later stages need no
environment.
"""

import contextlib
import logging
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar, get_args

import numpy as np
from pydantic import TypeAdapter, ValidationError

from dreamserve.manifest import SignalSpec
from dreamserve.observations import ObservationSpec, VectorSpec
from dreamserve.spaces import ActionSpace
from dreamserve_training.data.agents import Exploration
from dreamserve_training.data.collect import CollectConfig, record_episode
from dreamserve_training.data.episodes import episode_paths, load_episode, read_headers
from dreamserve_training.data.signals import Signal, Signals, check_recorded
from dreamserve_training.envs import EnvSpec, RealEnv, env_name, make_env
from dreamserve_training.export.bank import BankConfig
from dreamserve_training.models.controller import Scores
from dreamserve_training.probing import Wishes, action_spec, observation_spec, step_limit
from dreamserve_training.recipe import (
    LIGHT_PLAN,
    DoneRuleName,
    EvaluateConfig,
    Recipe,
    ResolvedRecipe,
)
from dreamserve_training.recipe_files import RecipeError
from dreamserve_training.recorded import recorded_spec
from dreamserve_training.train.controller import ControllerConfig
from dreamserve_training.train.memory import TrainConfig
from dreamserve_training.train.methods import METHODS, MethodConfig
from dreamserve_training.train.ppo.config import PPOConfig
from dreamserve_training.train.vae import VAEConfig
from dreamserve_training.workspace import Workspace, read_json, write_json

logger = logging.getLogger("dreamserve_training")
Config = TypeVar(
    "Config",
    CollectConfig,
    VAEConfig,
    TrainConfig,
    ControllerConfig,
    EvaluateConfig,
    BankConfig,
    Exploration,
)

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
    return Wishes(
        recipe.part,
        recipe.crop,
        recipe.size,
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
    lengths = [len(first["actions"])]
    while sum(lengths) < PROBE_STEPS:
        seed = config.seed + len(lengths)
        lengths.append(len(record_episode(env, config, seed)["actions"]))
    return float(np.mean(lengths))


def resolve(recipe: Recipe, probed: Probed) -> ResolvedRecipe:
    """Return every option of every stage. RecipeError for an unknown option, which it names."""
    env, vectors = probed.env, isinstance(probed.env.observation, VectorSpec)
    steps = recipe.steps or probed.steps or (20_000 if vectors else 60_000)
    collect = CollectConfig(max(8, math.ceil(steps / probed.mean_steps)), policy=recipe.policy)
    collect = with_options("collect", collect, recipe.collect)
    steps = min(steps, int(collect.episodes * probed.mean_steps) + 1)
    length = recipe.sequence_length or 64
    batches = math.ceil(max(collect.episodes, steps / length) / recipe.batch_size)
    updates = 3000 if vectors else 2000  # of M, in all
    train = TrainConfig(
        epochs=min(200, max(5, updates // batches)),
        lr=4e-3 if vectors else 1e-3,  # few updates of a small M: 1e-3 learns no reward in time
        mixed_precision=not vectors,  # bfloat16 is too coarse for numbers
    )
    train = with_options("train", train, recipe.train)
    memory = {
        "rnn_size": 128 if vectors else 256,
        "num_mixtures": 3 if vectors else 5,
        "head": "per_dimension",
    }
    return ResolvedRecipe(
        name=recipe.name or "world",
        env=env,
        data=recipe.data,
        baselines=tuple((name, tuple(actions)) for name, actions in recipe.baselines.items()),
        collect=collect,
        holdout=held_out(collect),
        vae=_vae(recipe, env, steps),
        memory=recipe.memory,
        memory_options={**memory, **recipe.memory_options},
        train=train,
        batch_size=recipe.batch_size,
        sequence_length=length,
        controller=with_options("controller", _method(recipe, env, train), _method_options(recipe)),
        evaluate=_evaluate(recipe.evaluate),
        constant_reward=recipe.constant_reward,
        done_rule=recipe.done_rule,
        done_threshold=recipe.done_threshold,
        signals=_signals(recipe, train),
        bank=with_options("bank", _bank(recipe), recipe.bank),
    )


def held_out(collect: CollectConfig) -> CollectConfig:
    """Return the collection of a tenth as many episodes, with the seeds that follow."""
    episodes = max(4, collect.episodes // 10)
    return replace(collect, episodes=episodes, seed=collect.seed + collect.episodes)


def _signals(recipe: Recipe, train: TrainConfig) -> Signals:
    """Return the recipe's signals. RecipeError if M cannot predict them, or for a wrong rule."""
    if recipe.done_rule not in get_args(DoneRuleName):
        rules = ", ".join(get_args(DoneRuleName))
        raise RecipeError(f"done_rule must be one of {rules}, not {recipe.done_rule!r}")
    if recipe.done_rule == "drawn" and recipe.done_threshold is not None:
        raise RecipeError("give done_threshold only with done_rule='threshold'")
    if recipe.done_rule == "drawn" and train.done_pos_weight == 0:
        raise RecipeError("train: done_pos_weight must be above 0 with done_rule='drawn'")
    for name, signal in recipe.signals.items():
        if not isinstance(signal, Signal):
            raise RecipeError(f"signals: {name!r} must be a Signal, not {signal!r}")
        try:
            SignalSpec(name=name, description=signal.head().description)
        except ValidationError as error:
            raise RecipeError(f"signals: {name!r}: {error.errors()[0]['msg']}") from error
    return recipe.signals


def _vae(recipe: Recipe, env: EnvSpec, steps: int) -> VAEConfig:
    if isinstance(env.observation, VectorSpec):
        return VAEConfig(z_dim=len(env.observation.names))
    frames, batch_size = min(steps, 120_000), min(128, max(8, steps // 32))
    config = VAEConfig(
        z_dim=32,
        frames=frames,
        validation_frames=min(4000, max(8, steps // 10)),
        batch_size=batch_size,
        epochs=min(20, max(3, 2500 * batch_size // frames)),
    )
    return with_options("vae", config, recipe.vae)


def _method(recipe: Recipe, env: EnvSpec, train: TrainConfig) -> MethodConfig:
    """Return the default options of the method by which C is trained."""
    name = recipe.controller.get("method", "cma")
    if name not in METHODS:
        raise RecipeError(f"controller: unknown method {name!r}; known: {', '.join(METHODS)}")
    if METHODS[name] is PPOConfig:  # a threshold is of the logit with the weight of positives in it
        weighted = recipe.done_rule == "threshold" and train.done_pos_weight > 0
        return PPOConfig(done_weight=train.done_pos_weight if weighted else 1.0)
    return ControllerConfig(
        form=Scores(env.action_space.width),
        temperature=1.0,
        generations=20,
        population=32,
        episodes=8,
        max_steps=env.max_episode_steps,
    )


def _method_options(recipe: Recipe) -> dict[str, Any]:
    return {name: value for name, value in recipe.controller.items() if name != "method"}


def _bank(recipe: Recipe) -> BankConfig:
    """Return what C's method begins its dreams at: beginnings, or moments of every age."""
    if recipe.controller.get("method") == "ppo":
        return BankConfig(recipe.bank_size, draft=4096, beginnings=0.35, late=1.0)
    return BankConfig(recipe.bank_size)


def _evaluate(options: Mapping[str, Any]) -> EvaluateConfig:
    config = with_options("evaluate", EvaluateConfig(), options)
    return replace(config, plan={**LIGHT_PLAN, **config.plan})


def with_options(field: str, config: Config, options: Mapping[str, Any]) -> Config:
    """Return `config` with `options` in place of its defaults. RecipeError for an unknown one."""
    known = {item.name for item in fields(config)}
    if unknown := sorted(set(options) - known):
        raise RecipeError(f"{field}: unknown options {unknown}; known: {', '.join(sorted(known))}")
    changed: Config = replace(config, **options)
    return changed


@dataclass(frozen=True)
class Experience:
    """What the collected episodes tell."""

    constant_reward: float | None  # of every step, if all are equal
    ends: bool  # whether any episode terminates
    reward_mean: float
    reward_std: float  # standard deviation over all steps


def experience_of(recipe: ResolvedRecipe, workspace: Workspace) -> Experience:
    """Return what M has to predict: rewards, unless all are equal, and ends, if there are any."""
    rewards, ends = [], False
    for path in episode_paths(workspace.all_episodes("train")):
        episode = load_episode(path, ("rewards", "terminated"))
        rewards.append(episode["rewards"].astype(np.float64))
        ends = ends or bool(episode["terminated"].any())
    all_rewards = np.concatenate(rewards)
    constant = recipe.constant_reward
    if constant is None and all_rewards.min() == all_rewards.max():
        constant = float(all_rewards[0])
    if constant == 0.0:
        logger.warning("every reward is 0: nothing distinguishes good actions from bad ones")
    return Experience(constant, ends, float(all_rewards.mean()), float(all_rewards.std()))
