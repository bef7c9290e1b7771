"""What does learning in dreams owe to each of its choices? Every controller plays the real game.

    python benchmarks/ablations.py takecover runs/takecover                # every group of choices
    python benchmarks/ablations.py takecover runs/takecover --only temperature,reward
    python benchmarks/ablations.py takecover runs/takecover --device cpu --learners 1

Each variant changes options of the recipe's own PPO, the method or the world. It learns once for
each seed in dreams of the run's worlds; all its controllers play the same real episodes, paired by
seed with the unchanged recipe's. Finished learnings and plays are kept in `--out`, so an
interrupted script goes on.
"""

import argparse
from collections.abc import Iterator, Mapping
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from dreamserve.loading import load_world
from dreamserve.trust import Trust
from dreamserve_training.dreams.policies import policy_returns
from dreamserve_training.evaluation.differences import paired
from dreamserve_training.evaluation.real import EpisodeResults, compare_agents, controller_agents
from dreamserve_training.models.controller import Scores, load_policy, save_policy
from dreamserve_training.passes import resolve_passes
from dreamserve_training.probe import probe
from dreamserve_training.progress import log_progress, show_progress
from dreamserve_training.recipe import ResolvedRecipe
from dreamserve_training.recipe_files import load_recipe
from dreamserve_training.runs.pools import worker_pool
from dreamserve_training.tasks import workspaces_of
from dreamserve_training.train.controller import ControllerConfig
from dreamserve_training.train.methods import MethodConfig, train_controller
from dreamserve_training.train.ppo.config import PPOConfig
from dreamserve_training.workspace import Workspace, read_json, write_json
from tables import print_circumstances, print_table, told

UNCHANGED = "as in the recipe"
GROUPS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "reward": {
        "the end, not the hit": {"reward": {"end": -1.0}},
        "the world's reward": {"reward": {"world": 1.0}},
    },
    "length": {"cut at 50 steps": {"dream_steps": 50}, "cut at 600 steps": {"dream_steps": 600}},
    "starts": {"beginnings only": {"beginnings": 1.0}, "late moments often": {"late": 1.0}},
    "inputs": {"z, h and c": {"inputs": ("latent", "h", "c")}},
    "network": {"a hidden layer of 64": {"hidden": 64}},
    "temperature": {f"T = {t}": {"temperatures": (t, t)} for t in (0.1, 0.5, 1.0, 1.15, 1.3)},
    "cold": {  # dreams begin as in the paper
        "T = 0.1, beginnings only": {"temperatures": (0.1, 0.1), "beginnings": 1.0},
        "T = 0.1, beginnings only, the end": {
            "temperatures": (0.1, 0.1),
            "beginnings": 1.0,
            "reward": {"end": -1.0},
        },
    },
}
FURTHER = ("method", "data")  # groups of variants that are not options of PPO
FRESH_SEED = 5_000_000  # of the real episodes; recipes and `evaluate` use smaller ones


@dataclass(frozen=True)
class Variant:
    """How a controller is learned, and in which world."""

    world: Path
    config: MethodConfig


@dataclass(frozen=True)
class Learning:
    """One learning of a variant, with a seed."""

    name: str
    variant: Variant
    folder: Path

    def run(self) -> None:
        """Learn, or go on, and keep the controller."""
        world, config = self.variant.world, self.variant.config
        trust = Trust(trust_torchscript=True)  # of a file of the user's own run
        policy = train_controller(world, self.folder, config, trust=trust)
        save_policy(policy, self.folder / "controller.npz")


def learnings(
    passes: tuple[ResolvedRecipe, ...], run: Path, options: argparse.Namespace
) -> Iterator[Learning]:
    """Yield every learning: each variant with each seed."""
    base = passes[-1].controller
    if not isinstance(base, PPOConfig):
        raise SystemExit("the recipe's controller is not learned by PPO")
    base = replace(base, iterations=options.iterations, learnings=1, device=options.device)
    workspaces = workspaces_of(passes, Workspace(run, passes[0].memory))
    unchanged = Variant(workspaces[-1].draft.resolve(), base)
    evolution = equal_evolution(base, passes[-1].env.action_space.width)
    variants = {UNCHANGED: unchanged}
    for group in options.only.split(",") if options.only else [*GROUPS, *FURTHER]:
        for name, changes in GROUPS.get(group, {}).items():
            variants[name] = replace(unchanged, config=replace(base, **changes))
        variants |= further(group, unchanged, evolution, workspaces[:-1])
    for name, variant in variants.items():
        for seed in range(options.seeds):
            folder = options.out / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            seeded = replace(variant, config=replace(variant.config, seed=seed))
            yield Learning(name, seeded, folder.resolve())


def further(
    group: str, unchanged: Variant, evolution: ControllerConfig, earlier: list[Workspace]
) -> dict[str, Variant]:
    """Return the variants of one of `FURTHER`; none for another group."""
    if group == "method":
        return {"CMA-ES, as many dream steps": replace(unchanged, config=evolution)}
    if group == "data":
        names = ["first pass", *(f"iteration {n}" for n in range(1, len(earlier)))]
        worlds = zip(names, earlier, strict=False)
        return {f"M of the {n}": replace(unchanged, world=w.draft.resolve()) for n, w in worlds}
    return {}


def equal_evolution(base: PPOConfig, width: int) -> ControllerConfig:
    """Return the options of an evolution that takes at most the dream steps that PPO takes.

    `width` is the action space's. Dreams are cut; one that ends before takes fewer steps.
    """
    config = ControllerConfig(
        form=Scores(width), temperature=base.temperature, episodes=8, max_steps=600
    )
    generation = config.population * config.episodes * config.max_steps
    steps = base.iterations * base.dreams * base.steps
    return replace(config, generations=max(1, steps // generation))


def learn_all(every: list[Learning], learners: int) -> None:
    """Run all learnings, several at once; finished ones are only read.

    Raises MismatchError if one in its folder has learned by other options.
    """
    progress = log_progress("learn")
    progress(0, len(every))
    with worker_pool(learners) as pool:
        for done, job in enumerate(as_completed(pool.submit(each.run) for each in every), 1):
            job.result()
            progress(done, len(every))


def played(each: Learning, recipe: ResolvedRecipe, seeds: range) -> EpisodeResults:
    """Return the real results of one controller; they are kept beside it."""
    policy = load_policy(each.folder / "controller.npz")
    path = each.folder / f"real-{seeds[0]}-{len(seeds)}-{policy.digest()[:12]}.json"
    if (kept := read_json(path, default=None)) is None:
        agent = controller_agents(each.variant.world, policy, 1.0)[0]
        workers, progress = recipe.evaluate.workers, log_progress(f"play {each.folder.name}")
        results = compare_agents(recipe.env, [agent], seeds, workers, progress)
        kept = results[agent.name]._asdict()
        write_json(path, kept)
    return EpisodeResults(**kept)


def dreamed(each: Learning, seeds: range, limit: int) -> float:
    """Return the mean return in dreams at the temperature that it learned at."""
    policy = load_policy(each.folder / "controller.npz")
    temperature = each.variant.config.temperature
    returns, _ = policy_returns(load_world(each.variant.world), policy, seeds, temperature, limit)
    return float(returns.mean())


@dataclass(frozen=True)
class Row:
    """One variant's results."""

    name: str
    parts: list[EpisodeResults]  # of each learning
    dream: float  # mean return

    @property
    def results(self) -> EpisodeResults:
        """The episodes of all learnings."""
        return EpisodeResults(*(list(chain(*each)) for each in zip(*self.parts, strict=True)))

    @property
    def means(self) -> list[float]:
        """The mean return of each learning."""
        return [float(np.mean(part.returns)) for part in self.parts]

    def cells(self, reference: "Row", limit: int) -> list[str]:
        """Return the table's row."""
        figures = self.results.summary(limit)
        difference = paired(self.results, reference.results)
        return [
            self.name,
            f"{figures['mean']:,.0f} ± {told(figures['standard_error'], '.0f')}",
            f"{difference['mean']:+,.0f} ± {told(difference['standard_error'], '.0f')}",
            f"{self.dream:,.0f}",
            " ".join(f"{mean:,.0f}" for mean in self.means),
        ]


def rows(every: list[Learning], recipe: ResolvedRecipe, episodes: int) -> Iterator[Row]:
    """Play each variant's controllers, each learning's on seeds of its own; yield the results."""
    limit = recipe.env.max_episode_steps
    for name in dict.fromkeys(each.name for each in every):
        mine = [each for each in every if each.name == name]
        first = np.arange(len(mine)) * episodes + FRESH_SEED
        seeds = [range(number, number + episodes) for number in first.tolist()]
        parts = [played(each, recipe, part) for each, part in zip(mine, seeds, strict=True)]
        yield Row(name, parts, float(np.mean([dreamed(e, seeds[0][:100], limit) for e in mine])))


def scatter(table: list[Row]) -> float:
    """Return how much the means of one variant's learnings scatter: the pooled deviation.

    It has a part of its own that no number of episodes makes smaller.
    """
    return float(np.sqrt(np.mean([np.var(row.means, ddof=1) for row in table])))


def main() -> None:
    """Learn and play every variant; print one row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("run", type=Path, help="the recipe's folder, with all its passes")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--only", default="", help=f"some of {', '.join([*GROUPS, *FURTHER])}")
    parser.add_argument("--iterations", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3, help="learnings of each variant")
    parser.add_argument("--episodes", type=int, default=170, help="real ones, of each learning")
    parser.add_argument("--learners", type=int, default=2, help="learnings at once")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    show_progress()
    written = load_recipe(options.recipe)
    passes = resolve_passes(written, probe(written))
    every = list(learnings(passes, options.run, options))
    learn_all(every, options.learners)
    table = list(rows(every, passes[-1], options.episodes))
    limit = passes[-1].env.max_episode_steps
    print(
        f"\n{options.seeds} learnings of each variant, {options.episodes} real episodes of each\n"
    )
    cells = [row.cells(table[0], limit) for row in table]
    print_table(["", "real", "difference, paired", "in dreams", "each learning"], cells)
    if options.seeds > 1:
        print(f"\nlearnings of one variant scatter by {scatter(table):.0f}")
    print_circumstances(["torch", "onnxruntime"], cores="all used")


if __name__ == "__main__":
    main()
