"""The seeds of real episodes: no episode that judges C is one of those that it was made from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from dreamserve_training.recipe import ResolvedRecipe
from dreamserve_training.recipe_files import RecipeError

FRESH_SEED, FRESH_EPISODES = 4_000_000, 400  # of controllers that are played again


@dataclass(frozen=True)
class Episodes:
    """Real episodes that are played for one purpose."""

    what: str
    seeds: range
    option: str  # of a recipe, which says where they begin; empty if none does
    judge: bool = False

    def __str__(self) -> str:
        return f"{self.what} have the seeds {self.seeds[0]} to {self.seeds[-1]}"


def check_seeds(passes: Sequence[ResolvedRecipe]) -> None:
    """Raise RecipeError, which names both, if episodes for two purposes have a seed in common."""
    if passes[0].env.env is None:
        return
    fresh = range(FRESH_SEED, FRESH_SEED + FRESH_EPISODES)
    again = Episodes("those of `dreamserve-train evaluate FOLDER`", fresh, option="")
    for one, other in combinations([*_made_from(passes), *_judging(passes), again], 2):
        if one.judge and other.judge:
            continue  # passes are judged by the same episodes
        if _meet(one.seeds, other.seeds):
            options = " or ".join(each.option for each in (one, other) if each.option)
            raise RecipeError(f"{one}, and {other}: none may be both; change {options}")


def check_fresh(seeds: range, passes: Sequence[ResolvedRecipe]) -> None:
    """Raise ValueError, which names both, if C was made from an episode with one of `seeds`."""
    for made in _made_from(passes):
        if _meet(made.seeds, seeds):
            raise ValueError(
                f"{made}, and those to play {seeds[0]} to {seeds[-1]}: choose another --seed"
            )


def _made_from(passes: Sequence[ResolvedRecipe]) -> Iterator[Episodes]:
    """Yield the episodes that V, M or C of a recipe learn from, and those that M is held to."""
    for each in passes:
        if each.data is None:  # else they are on disk
            name = f"iteration {each.number}" if each.number else "the first pass"
            for part, config in (("data", each.collect), ("held-out data", each.holdout)):
                what = f"episodes of the {part} of {name}"
                yield Episodes(what, config.seeds, 'collect={"seed": …}')
        if each.finetune is not None:
            yield Episodes(
                "episodes of finetune", each.finetune.seeds, 'finetune={"first_seed": …}'
            )


def _judging(passes: Sequence[ResolvedRecipe]) -> Iterator[Episodes]:
    for each in passes:
        yield Episodes("those that judge", each.evaluate.seeds, 'evaluate={"seed": …}', judge=True)


def _meet(one: range, other: range) -> bool:
    return one[0] <= other[-1] and other[0] <= one[-1]
