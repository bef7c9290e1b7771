"""The passes of a recipe: the first one, then its iterations, each with the stages' options."""

from dataclasses import replace

from dreamserve.observations import VectorSpec
from dreamserve_training.data.agents import Exploration
from dreamserve_training.defaults import (
    controller_options,
    evaluate_options,
    finetune_options,
    held_out,
    resolve,
)
from dreamserve_training.overrides import with_options
from dreamserve_training.probe import Probed
from dreamserve_training.recipe import Iteration, Recipe, ResolvedRecipe
from dreamserve_training.recipe_checks import check_world
from dreamserve_training.recipe_files import RecipeError
from dreamserve_training.seeds import check_seeds


def resolve_passes(recipe: Recipe, probed: Probed) -> tuple[ResolvedRecipe, ...]:
    """Return every option of every stage of each pass: the first one, then the iterations.

    RecipeError for an option that is unknown or that the world cannot serve, for an iteration that
    nobody can play, and for episodes of two purposes with the same seeds.
    """
    passes = [resolve(recipe, probed)]
    for iteration in recipe.iterations:
        passes.append(_next(recipe, passes[-1], iteration))
    passes = [replace(each, last=each is passes[-1]) for each in passes]
    passes[-1] = replace(passes[-1], finetune=finetune_options(recipe, passes[-1]))
    check_seeds(passes)
    for each in passes:
        check_world(each)
    return tuple(passes)


def _next(recipe: Recipe, before: ResolvedRecipe, iteration: Iteration) -> ResolvedRecipe:
    number = before.number + 1
    if before.env.env is None:
        raise RecipeError(f"iteration {number}: needs env=..., to collect with the controller")
    players = tuple(
        (name, weight)
        for name, weight in iteration.players.items()
        if weight > 0 and (name != "baselines" or before.baselines)
    )
    if not players:
        raise RecipeError(f"iteration {number}: nobody plays; players={dict(iteration.players)}")
    collect = replace(
        before.collect, episodes=iteration.episodes, seed=before.holdout.seeds[-1] + 1
    )
    first = before.passes()[0]
    vae = with_options("vae", first.vae, iteration.vae or {})
    if iteration.vae is not None and isinstance(first.env.observation, VectorSpec):
        raise RecipeError(f"iteration {number}: vae: vectors have no V that could be trained on")
    if vae.z_dim != first.vae.z_dim:
        raise RecipeError(f"iteration {number}: vae: z_dim stays {first.vae.z_dim}")
    train = with_options("train", first.train, iteration.train)
    controller = controller_options(recipe, first.env, train)
    return replace(
        first,
        data=None,
        collect=collect,
        holdout=held_out(collect),
        vae=vae,
        trains_vae=iteration.vae is not None,
        memory_options={**first.memory_options, **iteration.memory_options},
        train=train,
        controller=with_options("controller", controller, iteration.controller),
        evaluate=evaluate_options(first.evaluate, iteration.evaluate),
        players=players,
        exploration=with_options("exploration", Exploration(), iteration.exploration),
        before=before,
    )
