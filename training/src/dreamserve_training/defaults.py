"""Everything that a recipe leaves out: it follows from the environment and from the experience."""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from pydantic import ValidationError

from dreamserve.manifest import SignalSpec
from dreamserve.observations import VectorSpec
from dreamserve_training.data.collect import CollectConfig
from dreamserve_training.data.signals import Signals
from dreamserve_training.envs import EnvSpec
from dreamserve_training.export.bank import BankConfig
from dreamserve_training.models.controller import Scores
from dreamserve_training.overrides import with_options
from dreamserve_training.probe import Probed
from dreamserve_training.recipe import (
    LIGHT_PLAN,
    EvaluateConfig,
    Recipe,
    ResolvedRecipe,
)
from dreamserve_training.recipe_checks import check_baselines, check_plan
from dreamserve_training.recipe_files import RecipeError
from dreamserve_training.train.controller import ControllerConfig
from dreamserve_training.train.memory import TrainConfig
from dreamserve_training.train.methods import METHODS, MethodConfig
from dreamserve_training.train.ppo.config import FinetuneConfig, LearningConfig, PPOConfig
from dreamserve_training.train.vae import VAEConfig


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
    vae = _vae(recipe, env, steps)
    check_baselines(recipe.baselines, env.action_space)
    return ResolvedRecipe(
        name=recipe.name or "world",
        env=env,
        data=recipe.data,
        baselines=tuple((name, tuple(actions)) for name, actions in recipe.baselines.items()),
        collect=collect,
        holdout=held_out(collect),
        vae=vae,
        memory=recipe.memory,
        memory_options={**memory, **recipe.memory_options},
        train=train,
        batch_size=recipe.batch_size,
        sequence_length=length,
        controller=controller_options(recipe, env, train),
        evaluate=evaluate_options(EvaluateConfig(), recipe.evaluate),
        constant_reward=recipe.constant_reward,
        done_rule=recipe.done_rule,
        done_threshold=recipe.done_threshold,
        signals=_signals(recipe),
        bank=with_options("bank", _bank(recipe), recipe.bank),
    )


def finetune_options(recipe: Recipe, resolved: ResolvedRecipe) -> FinetuneConfig | None:
    """Return how C learns on in the real environment, by default as it has learned in dreams.

    None if it does not. RecipeError without an environment, and for another form than that of the
    C, or of the critic, that goes on.
    """
    if recipe.finetune is None:
        return None
    if recipe.env is None:
        raise RecipeError("finetune: needs env=..., to play it")
    weight = _done_weight(recipe, resolved.train)
    inherited, form = FinetuneConfig(done_weight=weight), ["hidden", "inputs"]
    if isinstance(resolved.controller, PPOConfig):
        own = {"iterations", "lr", "initial_scale"}
        shared = {each.name for each in fields(LearningConfig)} - own
        values = {name: getattr(resolved.controller, name) for name in shared}
        inherited, form = replace(inherited, **values), [*form, "critic_size", "action_std"]
    config = with_options("finetune", inherited, recipe.finetune)
    for name in form:
        if (value := getattr(inherited, name)) != getattr(config, name):
            raise RecipeError(f"finetune: {name} stays {value!r}, as C has learned in dreams")
    return config


def held_out(collect: CollectConfig) -> CollectConfig:
    """Return the collection of a tenth as many episodes, with the seeds that follow."""
    episodes = max(4, collect.episodes // 10)
    return replace(collect, episodes=episodes, seed=collect.seed + collect.episodes)


def _signals(recipe: Recipe) -> Signals:
    """Return the recipe's signals. RecipeError for a name that no signal can have."""
    for name, signal in recipe.signals.items():
        try:
            SignalSpec(name=name, description=signal.head().description)
        except ValidationError as error:
            raise RecipeError(f"signals: {name!r}: {error.errors()[0]['msg']}") from error
    return recipe.signals


def _vae(recipe: Recipe, env: EnvSpec, steps: int) -> VAEConfig:
    if isinstance(env.observation, VectorSpec):
        with_options("vae", VAEConfig(), recipe.vae)  # not used, and held to the same names
        return VAEConfig(z_dim=len(env.observation.names))
    frames = min(steps, 120_000)
    batch_size = min(128, max(8, steps // 32), frames)
    config = VAEConfig(
        z_dim=32,
        frames=frames,
        validation_frames=min(4000, max(8, steps // 10)),
        batch_size=batch_size,
        epochs=min(20, max(3, 2500 * batch_size // frames)),
    )
    return with_options("vae", config, recipe.vae)


def controller_options(recipe: Recipe, env: EnvSpec, train: TrainConfig) -> MethodConfig:
    """Return the options of C's training in dreams of an M that is trained by `train`."""
    options = {name: value for name, value in recipe.controller.items() if name != "method"}
    return with_options("controller", _method(recipe, env, train), options)


def _method(recipe: Recipe, env: EnvSpec, train: TrainConfig) -> MethodConfig:
    """Return the default options of the method by which C is trained."""
    name = recipe.controller.get("method", "cma")
    if name not in METHODS:
        raise RecipeError(f"controller: unknown method {name!r}; known: {', '.join(METHODS)}")
    if METHODS[name] is PPOConfig:
        return PPOConfig(done_weight=_done_weight(recipe, train))
    return ControllerConfig(
        form=Scores(env.action_space.width),
        temperature=1.0,
        generations=20,
        population=32,
        episodes=8,
        max_steps=env.max_episode_steps,
    )


def _done_weight(recipe: Recipe, train: TrainConfig) -> float:
    """Return the weight of positives that is left in the world's done logit.

    A threshold is of the logit with that weight in it; for ends that are drawn it is undone.
    """
    weighted = recipe.done_rule == "threshold" and train.done_pos_weight > 0
    return train.done_pos_weight if weighted else 1.0


def _bank(recipe: Recipe) -> BankConfig:
    """Return what C's method begins its dreams at: beginnings, or moments of every age."""
    if recipe.controller.get("method") == "ppo":
        return BankConfig(recipe.bank_size, draft=4096, beginnings=0.35, late=1.0)
    return BankConfig(recipe.bank_size)


def evaluate_options(config: EvaluateConfig, options: Mapping[str, Any]) -> EvaluateConfig:
    """Return `config` with `options`; its plans are light. RecipeError for what is not possible."""
    config = with_options("evaluate", config, options)
    if "plan_episodes" in options and config.plan_episodes > config.episodes:
        raise RecipeError(
            f"evaluate: plan_episodes: {config.plan_episodes} is more than the {config.episodes}"
            " episodes that C plays (`episodes`), which plans play, too"
        )
    plan = {**LIGHT_PLAN, **config.plan}
    check_plan(plan)
    return replace(config, plan=plan)
