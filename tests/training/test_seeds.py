"""Episodes and dreams that judge C are none of those that it was made from."""

from dataclasses import replace

import pytest
from tests.training.noise import NOISE, Noise

from dreamserve_training.models.controller import Scores
from dreamserve_training.passes import resolve_passes
from dreamserve_training.probe import Probed
from dreamserve_training.recipe import Iteration, Recipe
from dreamserve_training.recipe_files import RecipeError
from dreamserve_training.seeds import FRESH_EPISODES, FRESH_SEED, check_fresh
from dreamserve_training.train.controller import ControllerConfig, dream_seeds

PPO = {"method": "ppo"}
RECIPE = Recipe(env=Noise, collect={"episodes": 100}, iterations=(Iteration(episodes=50),))


def resolved(**options):
    return resolve_passes(replace(RECIPE, **options), Probed(NOISE, 20.0))


def test_all_ranges_of_a_recipe_by_default_are_disjoint():
    passes = resolved(controller=PPO, finetune={})
    parts = [part.seeds for each in passes for part in (each.collect, each.holdout)]
    parts += [passes[-1].finetune.seeds, passes[-1].evaluate.seeds]
    parts.append(range(FRESH_SEED, FRESH_SEED + FRESH_EPISODES))
    seeds = [seed for part in parts for seed in part]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize(
    ("options", "one", "other"),
    [
        (
            {"collect": {"episodes": 100, "seed": FRESH_SEED - 5}},
            "the data of the first pass have the seeds 3999995 to 4000094",
            "`dreamserve-train evaluate FOLDER` have the seeds 4000000 to 4000399",
        ),
        (
            {"collect": {"episodes": 100, "seed": FRESH_SEED - 105}},
            "the held-out data of the first pass have the seeds 3999995 to 4000004",
            "FOLDER` have the seeds 4000000",
        ),
        (
            {"controller": PPO, "finetune": {"first_seed": FRESH_SEED - 479}},
            "finetune have the seeds 3999521 to 4000000",
            "FOLDER` have the seeds 4000000",
        ),
        (
            {"controller": PPO, "finetune": {"first_seed": 120}},
            "the data of iteration 1 have the seeds 110 to 159",
            "finetune have the seeds 120 to 599",
        ),
        (
            {"evaluate": {"seed": FRESH_SEED + 399}},
            "those that judge have the seeds 4000399 to 4000498",
            "FOLDER` have the seeds 4000000",
        ),
    ],
)
def test_a_seed_of_two_purposes_is_refused_with_both_ranges(options, one, other):
    with pytest.raises(RecipeError) as refused:
        resolved(**options)
    assert one in str(refused.value)
    assert other in str(refused.value)


def test_ranges_may_meet_without_a_common_seed():
    resolved(controller=PPO, finetune={"first_seed": FRESH_SEED - 480}, evaluate={"seed": 165})
    resolved(collect={"episodes": 100, "seed": 5_000_000})


def test_who_plays_again_does_so_in_episodes_that_nothing_was_made_from():
    passes = resolved()
    check_fresh(range(165, 200), passes)
    with pytest.raises(ValueError, match="seeds 160 to 164, and those to play 164 to 199"):
        check_fresh(range(164, 200), passes)


@pytest.mark.parametrize("seed", [0, 1, 2**40, 2**53 - 1])
def test_dreams_of_an_evolution_are_none_of_those_that_judge(seed):
    config = ControllerConfig(Scores(3), seed=seed, episodes=2, generations=20)
    evolved = {each for number in range(20) for each in dream_seeds(config, number)}
    judges = resolved()[-1].evaluate.dream_seeds
    assert len(evolved) == 40
    assert len(judges) == 100
    assert max(evolved) < judges[0] < judges[-1] < 2**53
