"""Play controllers of bundles, or of runs, in the real environment again, with seeds of their own.

dreamserve-train evaluate bundles/takecover --against runs/takecover --episodes 400
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dreamserve.backends.choose import cores
from dreamserve.bundle import MANIFEST_FILE, load_bundle
from dreamserve.observations import FrameSpec, ObservationSpec, VectorSpec
from dreamserve.spaces import ActionSpace
from dreamserve_training.data.digests import file_hash
from dreamserve_training.dreams.policies import bundled_policy
from dreamserve_training.envs import EnvSpec
from dreamserve_training.evaluation.differences import controller_differences, paired
from dreamserve_training.evaluation.figures import told
from dreamserve_training.evaluation.real import (
    CONTROLLER,
    EpisodeResults,
    blind_agents,
    compare_agents,
    controller_agents,
)
from dreamserve_training.models.controller import Policy, load_policy
from dreamserve_training.passes import resolve_passes
from dreamserve_training.probe import probe
from dreamserve_training.progress import log_progress
from dreamserve_training.recipe_files import RECIPES, load_recipe
from dreamserve_training.runs.options import PLACE, Count, Options, Whole
from dreamserve_training.seeds import FRESH_EPISODES, FRESH_SEED, check_fresh
from dreamserve_training.workspace import Workspace, read_json


@dataclass(frozen=True)
class ComparisonConfig(Options):
    """How controllers are played again."""

    episodes: Count = FRESH_EPISODES
    seed: Whole = FRESH_SEED  # of the first episode
    workers: Count = field(default_factory=cores, metadata=PLACE)  # processes that play
    alone: bool = False  # without blind twins, random actions and the recipe's baselines


@dataclass(frozen=True)
class Contestant:
    """A bundle and the controller that acts in it."""

    bundle: Path
    policy: Policy


def compare(
    folder: Path, recipe: str | None, against: Path | None, config: ComparisonConfig
) -> str:
    """Return a report: means with standard errors, and differences paired by seed.

    `folder` and `against` are bundles, or runs of a recipe, whose last controller is taken.
    `recipe` is the one of the environment; None: the one of RECIPES that the bundle names. Raises
    ValueError for a folder that holds no controller, for a bundle of another environment, for one
    of another recipe without `recipe`, and for seeds of episodes that the recipe learns from.
    """
    first = contestant(folder)
    name = recipe or _recipe_of(first.bundle)
    written = load_recipe(name)
    passes = resolve_passes(written, probe(written))
    seeds = range(config.seed, config.seed + config.episodes)
    check_fresh(seeds, passes)
    resolved, env = passes[0], passes[0].env
    temperature = passes[-1].controller.temperature
    agents = controller_agents(first.bundle, first.policy, temperature)
    agents = agents[:1] if config.alone else agents
    contestants = {CONTROLLER: first}
    if against is not None:
        contestants[f"{CONTROLLER} of {against}"] = contestant(against)
        (_, other), label = contestants.values(), list(contestants)[1]
        rival = controller_agents(other.bundle, other.policy, temperature)[0]
        agents += [replace(rival, name=label)]
    for each in contestants.values():
        _check_same_world(each.bundle, env)
    if not config.alone:
        agents += blind_agents(env, resolved.played_by, resolved.baselines)
    progress = log_progress("evaluate")
    return report(compare_agents(env, agents, seeds, config.workers, progress), list(contestants))


def report(results: dict[str, EpisodeResults], contestants: list[str]) -> str:
    """Return the results as text; `contestants` are the controllers that are compared."""
    rows = {name: (played.summary(limit=0), "") for name, played in results.items()}
    others = contestants[1:]
    own = {name: played for name, played in results.items() if name not in others}
    differences = controller_differences(own)
    for other in others:
        differences[f"{CONTROLLER} - {other}"] = paired(results[CONTROLLER], results[other])
    for name, figures in differences.items():
        times = f"  ({figures['ratio']:.3g} times)" if "ratio" in figures else ""
        rows[name] = figures, times
    width = max(map(len, rows))
    return "\n".join(
        [
            f"{len(results[CONTROLLER].returns)} real episodes, mean ± standard error",
            *(
                f"{name:<{width}}  {told(figures, digits=6)}{times}"
                for name, (figures, times) in rows.items()
            ),
        ]
    )


def contestant(folder: Path) -> Contestant:
    """Return the bundle and controller in `folder`; ValueError if it is neither bundle nor run."""
    if (folder / MANIFEST_FILE).exists():
        policy = bundled_policy(folder)
        if policy is None:
            raise ValueError(f"{folder}: the bundle has no controller")
        return Contestant(folder, policy)
    run = Workspace(folder, core="")
    recipe = read_json(run.recipe, default={})
    passes = [run]
    for _ in range(recipe.get("iterations", 0)):  # further ones are of an earlier recipe
        passes.append(passes[-1].next())
    for each in reversed(passes if recipe else []):
        path = each.controller / "controller.npz"
        if each.inputs("controller").exists():  # the stage is done, so both are of one world
            learned = _learned_on(each, path) if recipe["finetune"] else path
            return Contestant(each.draft, load_policy(learned))
    raise ValueError(f"{folder}: is neither a bundle nor a run with a controller")


def _learned_on(run: Workspace, policy: Path) -> Path:
    """Return the controller that `policy` has become in the real environment; itself without."""
    begun_as = read_json(run.inputs("finetune"), default={}).get("policy")
    return run.finetuned / "controller.npz" if begun_as == file_hash(policy) else policy


def _recipe_of(bundle: Path) -> str:
    """Return the recipe that a bundle names. ValueError for one that is a file, somewhere."""
    name = load_bundle(bundle).manifest.origin.get("recipe")
    if name is None:
        raise ValueError(f"{bundle}: names no recipe; say which one has its environment: --recipe")
    if name not in RECIPES:
        raise ValueError(
            f"{bundle}: its recipe, {name!r}, is a file; say where it is: --recipe ./{name}.py"
        )
    return str(name)


def _check_same_world(bundle: Path, env: EnvSpec) -> None:
    manifest = load_bundle(bundle).manifest
    for part, there in (("observation", env.observation), ("action_space", env.action_space)):
        here = getattr(manifest, part)
        if _form(here) != _form(there):
            raise ValueError(
                f"{bundle}: its {part} is not that of {env.env_id}: {here!r}, there {there!r}"
            )


def _form(part: ObservationSpec | ActionSpace) -> Any:
    """Return what an observation or action is; a vector's names and bounds only describe it."""
    match part:
        case FrameSpec():
            return part.source_shape, part.crop, part.shape
        case VectorSpec():
            return part.shape
    return part  # the names of actions tell what they do
