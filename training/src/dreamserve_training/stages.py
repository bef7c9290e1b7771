"""The stages of a recipe. Each reads the files of earlier stages and writes its output.

An interrupted stage resumes where it stopped; a stage whose output exists is skipped.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dreamserve.loading import load_world
from dreamserve.observations import VectorSpec
from dreamserve_training.assemble import memory_options, write_bundle, write_draft
from dreamserve_training.data.collect import collect as collect_episodes
from dreamserve_training.data.disk import Data, place_episodes
from dreamserve_training.data.encoding import FramesToLatentConverter, preprocess_trajectories
from dreamserve_training.data.episodes import episode_paths
from dreamserve_training.data.frames import sample_frames
from dreamserve_training.data.loaders import create_window_loader
from dreamserve_training.defaults import probe, resolve
from dreamserve_training.dreams.returns import dream_returns
from dreamserve_training.evaluation.real import (
    EpisodeResults,
    blind_agents,
    compare_agents,
    controller_agents,
    planning_agent,
)
from dreamserve_training.models.catalog import make_memory
from dreamserve_training.models.controller import LinearPolicy, load_policy, save_policy
from dreamserve_training.progress import duration, log_progress
from dreamserve_training.recipe import ResolvedRecipe, Workspace, read_json, write_json
from dreamserve_training.recipe_files import load_recipe
from dreamserve_training.train.controller import evolve
from dreamserve_training.train.memory import train_memory
from dreamserve_training.train.vae import train_vae
from dreamserve_training.train.vectors import fit_scale

logger = logging.getLogger("dreamserve_training")


@dataclass(frozen=True)
class Stage:
    """One step of a recipe."""

    name: str
    run: Callable[[ResolvedRecipe, Workspace], None]
    output: Callable[[Workspace], Path]  # the stage is done if this file exists
    minutes: float  # Take Cover's duration on two CPU cores, for the time-left estimate


def collect(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Record episodes of the real environment, or take recorded ones."""
    if recipe.data is not None:
        take_recorded(recipe, recipe.data, workspace)
        return
    for split, config in (("train", recipe.collect), ("holdout", recipe.holdout)):
        directory = workspace.episodes(split)
        collect_episodes(recipe.env, directory, config, log_progress(f"collect {split}"))
    (workspace.root / "collected").touch()


def take_recorded(recipe: ResolvedRecipe, data: Data, workspace: Workspace) -> None:
    """Split the episodes of `data` into those that train and those that are held out."""
    for split, paths in zip(("train", "holdout"), data.split(), strict=True):
        place_episodes(
            paths,
            workspace.episodes(split),
            recipe.env.observation,
            recipe.env.action_space,
            log_progress(f"take {split}"),
        )
    (workspace.root / "collected").touch()


def vae(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Train V on a sample of frames, or fit the scale of vectors."""
    config = recipe.vae
    workspace.vae.mkdir(parents=True, exist_ok=True)
    if isinstance(recipe.env.observation, VectorSpec):
        fit_scale(episode_paths(workspace.episodes("train")), workspace.vae_model)
        return
    samples = {}
    for split, count in (("train", config.frames), ("holdout", config.validation_frames)):
        samples[split] = workspace.vae / f"frames-{split}.npy"
        if not samples[split].exists():
            paths = episode_paths(workspace.episodes(split))
            progress = log_progress(f"sample {split} frames")
            sample_frames(paths, samples[split], count, config.seed, progress)
    train_vae(samples["train"], samples["holdout"], workspace.vae, config)


def encode(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Encode the observations of every episode to V's posteriors."""
    converter = FramesToLatentConverter(workspace.vae_model, mixed_precision=True)
    for split in ("train", "holdout"):
        preprocess_trajectories(
            workspace.episodes(split),
            workspace.latents(split),
            converter,
            progress=log_progress(f"encode {split}"),
        )
    (workspace.root / "encoded").touch()


def memory(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Train M on windows of latent episodes; keep the epoch that is best on held-out episodes."""
    model = make_memory(recipe.memory, **memory_options(recipe, workspace))
    config = replace(recipe.train, save_dir=str(workspace.memory))
    train, holdout = (
        create_window_loader(
            workspace.latents(split),
            batch_size=recipe.batch_size,
            sequence_length=recipe.sequence_length,
            shuffle=split == "train",
            seed=config.seed,
        )
        for split in ("train", "holdout")
    )
    train_memory(model, train, config, holdout)


def controller(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Evolve C in dreams of the draft bundle."""
    if not workspace.draft.exists():
        write_draft(recipe, workspace)
    policy = evolve(workspace.draft, workspace.controller, recipe.controller)
    save_policy(policy, workspace.controller / "controller.npz")


def evaluate(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Evaluate C, plans and blind agents in real episodes whose seeds were not used before.

    A recipe without an environment is evaluated in dreams only.
    """
    config, limit = recipe.evaluate, recipe.env.max_episode_steps
    policy = load_policy(workspace.controller / "controller.npz")
    seeds = range(config.seed, config.seed + config.episodes)
    real = {} if recipe.env.env is None else real_results(recipe, workspace, policy, seeds)
    world = load_world(workspace.draft)
    dreamed = {}
    for value in config.dream_temperatures:
        returns, lengths = dream_returns(world, [policy], list(seeds), value, limit)
        results = EpisodeResults(returns[0].tolist(), lengths[0].tolist())
        dreamed[str(value)] = results.summary(limit)
    report = {
        "seeds": [seeds[0], seeds[-1]],
        "real": {name: results.summary(limit) for name, results in real.items()},
        "dream": dreamed,
        "episodes": {name: results._asdict() for name, results in real.items()},
    }
    write_json(workspace.evaluation, report)
    for name, figures in report["real"].items():
        logger.info("%-14s %8.5g ± %.3g", name, figures["mean"], figures["std"])


def real_results(
    recipe: ResolvedRecipe, workspace: Workspace, policy: LinearPolicy, seeds: range
) -> dict[str, EpisodeResults]:
    """Return the results in the real environment of the controller, plans and blind agents."""
    config = recipe.evaluate
    agents = [
        *blind_agents(recipe.env, recipe.collect, recipe.baselines),
        *controller_agents(workspace.draft, policy, recipe.controller.temperature),
    ]
    progress = log_progress("evaluate")
    real = compare_agents(recipe.env, agents, seeds, config.workers, progress)
    if planned := seeds[: config.plan_episodes]:
        planner = planning_agent(workspace.draft, config.plan)
        progress = log_progress("evaluate plans")
        real |= compare_agents(recipe.env, [planner], planned, config.workers, progress)
    return real


def export(recipe: ResolvedRecipe, workspace: Workspace, bundle: Path) -> None:
    """Measure the world on held-out episodes and write its bundle."""
    verdicts = write_bundle(recipe, workspace, bundle)
    # a marker file, because an existing bundle may come from another run
    (workspace.root / "exported").touch()
    for verdict in verdicts:
        logger.warning("verdict: %s", verdict)
    logger.info("export: %s", bundle)


STAGES = (
    Stage("collect", collect, lambda w: w.root / "collected", 6),
    Stage("vae", vae, lambda w: w.vae_model, 15),
    Stage("encode", encode, lambda w: w.root / "encoded", 4),
    Stage("memory", memory, lambda w: w.memory_model, 25),
    Stage("controller", controller, lambda w: w.controller / "controller.npz", 11),
    Stage("evaluate", evaluate, lambda w: w.evaluation, 5),
)


def run_stages(name: str, root: Path, bundle: Path, names: tuple[str, ...] | None = None) -> None:
    """Run the stages called `names` (default: all) of the recipe `name`, and log progress.

    `name` may be the path of a recipe's file. Raises ValueError for an unknown recipe, for a stage
    whose input is missing, and for an environment that cannot be trained on.
    """
    recipe = load_recipe(name)
    workspace = Workspace(root, recipe.memory)
    resolved: ResolvedRecipe | None = None  # the environment is asked only if a stage runs
    stages = [
        *STAGES,
        Stage("export", partial(export, bundle=bundle), lambda w: w.root / "exported", 1),
    ]
    selected = [stage for stage in stages if names is None or stage.name in names]
    for index, stage in enumerate(selected):
        if names is None and stage.output(workspace).exists():
            logger.info("%s: already done, skipped", stage.name)
            continue
        earlier = stages[: stages.index(stage)]
        if missing := [other.name for other in earlier if not other.output(workspace).exists()]:
            raise ValueError(f"{stage.name}: run {', '.join(missing)} first")
        if resolved is None:
            root.mkdir(parents=True, exist_ok=True)
            resolved = resolve(recipe, probe(recipe, workspace))
        left_s = 60 * sum(later.minutes for later in selected[index:])
        logger.info("%s: started; total time left on two cores: %s", stage.name, duration(left_s))
        start_s = time.monotonic()
        stage.run(resolved, workspace)
        took_s = time.monotonic() - start_s
        record_time(workspace, stage.name, took_s)
        logger.info("%s: done in %s", stage.name, duration(took_s))


def record_time(workspace: Workspace, stage: str, seconds: float) -> None:
    """Add `seconds` to the total duration of `stage` over all its runs; the card shows it."""
    totals = read_json(workspace.seconds, default={})
    totals[stage] = round(totals.get(stage, 0.0) + seconds, 1)
    write_json(workspace.seconds, totals)
