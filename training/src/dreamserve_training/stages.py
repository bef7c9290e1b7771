"""The stages of a recipe. Each reads the files of earlier stages and writes its output.

An interrupted stage resumes where it stopped; a stage whose output exists is skipped.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dreamserve.loading import load_world
from dreamserve.observations import VectorSpec
from dreamserve_training.assemble import memory_options, write_bundle, write_draft
from dreamserve_training.data.collect import collect as collect_episodes
from dreamserve_training.data.digests import files_digest
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
from dreamserve_training.recorded import take_recorded
from dreamserve_training.runs.locks import locked
from dreamserve_training.runs.records import describe
from dreamserve_training.runs.signals import stoppable
from dreamserve_training.stage_inputs import INPUTS, SPLITS, Inputs, begin_encoding
from dreamserve_training.stage_inputs import draft as draft_inputs
from dreamserve_training.train.memory import train_memory
from dreamserve_training.train.methods import train_controller
from dreamserve_training.train.processes import leads
from dreamserve_training.train.trainer import seed_everything
from dreamserve_training.train.vae import train_vae
from dreamserve_training.train.vectors import fit_scale

logger = logging.getLogger("dreamserve_training")


@dataclass(frozen=True)
class Stage:
    """One step of a recipe."""

    name: str
    run: Callable[[ResolvedRecipe, Workspace], None]
    output: Callable[[Workspace], Path]  # the stage is done if this file exists


def collect(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Record episodes of the real environment, or take recorded ones."""
    if recipe.data is not None:
        take_recorded(recipe.data, recipe.env, workspace.episodes, workspace.restart)
    else:
        for split, config in (("train", recipe.collect), ("holdout", recipe.holdout)):
            directory = workspace.episodes(split)
            progress = log_progress(f"collect {split}")
            collect_episodes(recipe.env, directory, config, progress, workspace.restart)
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
        paths = episode_paths(workspace.episodes(split))
        inputs = {"episodes": files_digest(paths), "count": count, "seed": config.seed}
        with made_of(workspace, samples[split].stem, inputs, samples[split]) as missing:
            if missing:
                progress = log_progress(f"sample {split} frames")
                sample_frames(paths, samples[split], count, config.seed, progress)
    train_vae(
        samples["train"], samples["holdout"], workspace.vae, config, restart=workspace.restart
    )


def encode(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Encode the observations of every episode to V's posteriors."""
    converter = FramesToLatentConverter(workspace.vae_model, mixed_precision=True)
    for split in SPLITS:
        latents = workspace.latents(split)
        begin_encoding(workspace.episodes(split), latents, converter, workspace.restart)
        preprocess_trajectories(
            workspace.episodes(split), latents, converter, progress=log_progress(f"encode {split}")
        )
    (workspace.root / "encoded").touch()


def memory(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Train M on windows of latent episodes; keep the epoch that is best on held-out episodes."""
    seed_everything(recipe.train.seed)  # the untrained weights
    model = make_memory(recipe.memory, **memory_options(recipe, workspace))
    config = replace(recipe.train, save_dir=str(workspace.memory), restart=workspace.restart)
    train, holdout = (
        create_window_loader(
            workspace.latents(split),
            batch_size=recipe.batch_size,
            sequence_length=recipe.sequence_length,
            shuffle=split == "train",
            seed=config.seed,
            signals=recipe.signals,
            in_order=config.carry_state,
        )
        for split in ("train", "holdout")
    )
    train_memory(model, train, config, holdout)


def controller(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Train C in dreams of the draft bundle."""
    inputs = draft_inputs(recipe, workspace)
    with made_of(workspace, "draft", inputs, workspace.draft) as missing:
        if missing:
            write_draft(recipe, workspace)
    policy = train_controller(
        workspace.draft, workspace.controller, recipe.controller, workspace.restart
    )
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
    Stage("collect", collect, lambda w: w.root / "collected"),
    Stage("vae", vae, lambda w: w.vae_model),
    Stage("encode", encode, lambda w: w.root / "encoded"),
    Stage("memory", memory, lambda w: w.memory_model),
    Stage("controller", controller, lambda w: w.controller / "controller.npz"),
    Stage("evaluate", evaluate, lambda w: w.evaluation),
)
TRAININGS = ("vae", "memory")  # stages that run in several processes, if the recipe says so


def run_stages(
    name: str,
    root: Path,
    bundle: Path,
    names: tuple[str, ...] | None = None,
    restart: bool = False,
) -> None:
    """Run the stages called `names` (default: all) of the recipe `name`, and log progress.

    `name` may be the path of a recipe's file.
    A stage is skipped if its output exists and was made of what the recipe and the earlier stages'
    files are now. A stage whose unfinished or finished files were made of other settings or data
    raises MismatchError; with `restart` it removes them and starts over. Raises ValueError for an
    unknown recipe and for a stage whose input is missing or outdated, and LockedError if another
    process runs stages in `root`.
    """
    written = load_recipe(name)
    workspace = Workspace(root, written.memory, restart)
    root.mkdir(parents=True, exist_ok=True)
    recipe = resolve(written, probe(written, workspace))
    stages = [
        *STAGES,
        Stage("export", partial(export, bundle=bundle), lambda w: w.root / "exported"),
    ]
    selected = [stage for stage in stages if names is None or stage.name in names]
    if not (leads(recipe.vae) and leads(recipe.train)):
        join_training(selected, recipe, workspace, skip_done=names is None)
        return
    with stoppable(), locked(root, "recipe"):
        for partial_file in root.rglob("*.partial"):  # of a process that was killed
            partial_file.unlink()
        for index, stage in enumerate(selected, 1):
            earlier = stages[: stages.index(stage)]
            missing = [other.name for other in earlier if not is_done(other, recipe, workspace)]
            if missing:
                raise ValueError(
                    f"{stage.name}: run {', '.join(missing)} first, with these settings and data"
                )
            if names is None and is_done(stage, recipe, workspace):
                logger.info("%s: already done, skipped", stage.name)
                continue
            logger.info("%s: started, %d of %d", stage.name, index, len(selected))
            run_stage(stage, recipe, workspace)


def join_training(
    stages: list[Stage], recipe: ResolvedRecipe, workspace: Workspace, skip_done: bool
) -> None:
    """Take part in the training that the first process has begun; it alone runs other stages.

    Raises ValueError if that process has not come so far.
    """
    for stage in stages:
        if skip_done and is_done(stage, recipe, workspace):
            continue
        if stage.name not in TRAININGS:
            raise ValueError(
                f"{stage.name}: is run by the first process only; call the stages"
                f" {' and '.join(TRAININGS)} by name on further machines"
            )
        stage.run(recipe, workspace)


def is_done(stage: Stage, recipe: ResolvedRecipe, workspace: Workspace) -> bool:
    """Return whether the output of `stage` exists and was made of the present inputs."""
    made = read_json(workspace.inputs(stage.name), default=None)
    inputs = describe(INPUTS[stage.name](recipe, workspace))
    return stage.output(workspace).exists() and bool(made == inputs)


def run_stage(stage: Stage, recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Run `stage`, and note what it was made of and how long it took."""
    start_s = time.monotonic()
    with made_of(workspace, stage.name, INPUTS[stage.name](recipe, workspace)):
        stage.run(recipe, workspace)
    took_s = time.monotonic() - start_s
    record_time(workspace, stage.name, took_s)
    logger.info("%s: done in %s", stage.name, duration(took_s))


@contextmanager
def made_of(
    workspace: Workspace, name: str, inputs: Inputs, output: Path | None = None
) -> Iterator[bool]:
    """Note after the block what `name` was made of; yield whether `output` is to be made again."""
    path, now = workspace.inputs(name), describe(inputs)
    changed = read_json(path, default=None) != now
    yield changed or output is None or not output.exists()
    if changed:
        path.parent.mkdir(exist_ok=True)
        write_json(path, now)


def record_time(workspace: Workspace, stage: str, seconds: float) -> None:
    """Add `seconds` to the total duration of `stage` over all its runs; the card shows it."""
    totals = read_json(workspace.seconds, default={})
    totals[stage] = round(totals.get(stage, 0.0) + seconds, 1)
    write_json(workspace.seconds, totals)
