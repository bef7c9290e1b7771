"""The stages of a recipe. Each reads the files of earlier stages and writes its output.

An interrupted stage resumes where it stopped; a stage whose output exists is skipped.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dreamserve.observations import VectorSpec
from dreamserve.trust import Trust
from dreamserve_training.assemble import memory_options, memory_to_go_on, write_bundle, write_draft
from dreamserve_training.data.collect import collect as collect_episodes
from dreamserve_training.data.digests import files_digest
from dreamserve_training.data.encoding import FramesToLatentConverter, preprocess_trajectories
from dreamserve_training.data.episodes import episode_paths
from dreamserve_training.data.frames import sample_frames
from dreamserve_training.data.loaders import create_window_loader
from dreamserve_training.defaults import probe
from dreamserve_training.judging import evaluate
from dreamserve_training.models.catalog import make_memory
from dreamserve_training.models.controller import load_policy, save_policy
from dreamserve_training.passes import resolve_passes
from dreamserve_training.progress import duration, log_progress
from dreamserve_training.recipe import ResolvedRecipe, Workspace, read_json, write_json
from dreamserve_training.recipe_files import load_recipe
from dreamserve_training.recorded import take_recorded
from dreamserve_training.runs.locks import locked
from dreamserve_training.runs.records import describe
from dreamserve_training.runs.signals import stoppable
from dreamserve_training.stage_inputs import INPUTS, SPLITS, begin_encoding, made_of, players
from dreamserve_training.stage_inputs import draft as draft_inputs
from dreamserve_training.train.memory import train_memory
from dreamserve_training.train.methods import train_controller
from dreamserve_training.train.ppo.config import PPOConfig
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
        who = players(recipe, workspace)
        for split, config in (("train", recipe.collect), ("holdout", recipe.holdout)):
            config = replace(config, players=who)
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
    """Train M on latent episodes of all passes; keep the epoch that is best on held-out ones."""
    seed_everything(recipe.train.seed)  # the untrained weights
    model = make_memory(recipe.memory, **memory_options(recipe, workspace))
    config = replace(recipe.train, save_dir=str(workspace.memory), restart=workspace.restart)
    train, holdout = (
        create_window_loader(
            workspace.all_latents(split),
            batch_size=recipe.batch_size,
            sequence_length=recipe.sequence_length,
            shuffle=split == "train",
            num_workers=config.readers,
            seed=config.seed,
            signals=recipe.signals,
            in_order=config.carry_state,
        )
        for split in ("train", "holdout")
    )
    train_memory(model, train, config, holdout, initial=memory_to_go_on(model, workspace))


def controller(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Train C in dreams of the draft bundle."""
    inputs = draft_inputs(recipe, workspace)
    with made_of(workspace, "draft", inputs, workspace.draft) as missing:
        if missing:
            write_draft(recipe, workspace)
    more: dict[str, Any] = {}
    if isinstance(recipe.controller, PPOConfig):
        more["trust"] = Trust(trust_torchscript=True)  # of a file that the stage has written
        if (before := workspace.before) is not None:
            more["initial"] = load_policy(before.controller / "controller.npz")
    policy = train_controller(
        workspace.draft, workspace.controller, recipe.controller, workspace.restart, **more
    )
    save_policy(policy, workspace.controller / "controller.npz")


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


@dataclass(frozen=True)
class Task:
    """A stage of a pass."""

    stage: Stage
    recipe: ResolvedRecipe
    workspace: Workspace

    @property
    def title(self) -> str:
        """The stage's name, and the iteration's number; there is only one export."""
        name, number = self.stage.name, self.recipe.number
        return name if number == 0 or name == "export" else f"{name} of iteration {number}"

    def is_done(self) -> bool:
        """Return whether the stage's output exists and was made of the present inputs."""
        made = read_json(self.workspace.inputs(self.stage.name), default=None)
        inputs = describe(INPUTS[self.stage.name](self.recipe, self.workspace))
        return self.stage.output(self.workspace).exists() and bool(made == inputs)


def tasks_of(passes: Sequence[ResolvedRecipe], workspace: Workspace, bundle: Path) -> list[Task]:
    """Return all tasks in their order; the bundle is that of the last pass."""
    tasks = [Task(stage, passes[0], workspace) for stage in STAGES]
    for recipe in passes[1:]:
        workspace = workspace.next()
        tasks += [Task(stage, recipe, workspace) for stage in STAGES if stage.name != "vae"]
    last = Stage("export", partial(export, bundle=bundle), lambda w: w.root / "exported")
    return [*tasks, Task(last, passes[-1], workspace)]


def run_stages(
    name: str,
    root: Path,
    bundle: Path,
    names: tuple[str, ...] | None = None,
    restart: bool = False,
    iteration: int = 0,
) -> None:
    """Run the stages called `names` (default: all) of the recipe `name`, and log progress.

    `name` may be the path of a recipe's file. Of stages by name, those of the first pass are run,
    or those of an `iteration`; `export` is the last pass's.
    A stage is skipped if its output exists and was made of what the recipe and the earlier stages'
    files are now. A stage whose unfinished or finished files were made of other settings or data
    raises MismatchError; with `restart` it removes them and starts over. Raises ValueError for an
    unknown recipe and for a stage whose input is missing or outdated, and LockedError if another
    process runs stages in `root`.
    """
    written = load_recipe(name)
    workspace = Workspace(root, written.memory, restart)
    root.mkdir(parents=True, exist_ok=True)
    passes = resolve_passes(written, probe(written, workspace))
    tasks = tasks_of(passes, workspace, bundle)
    selected = [task for task in tasks if names is None or _is_meant(task, names, iteration)]
    if not selected:
        raise ValueError(f"the recipe has {len(passes) - 1} iterations, without such a stage")
    if not (leads(passes[0].vae) and leads(passes[0].train)):
        join_training(selected, skip_done=names is None)
        return
    with stoppable(), locked(root, "recipe"):
        for partial_file in root.rglob("*.partial"):  # of a process that was killed
            partial_file.unlink()
        done = [False] * len(tasks)
        for index, task in enumerate(selected, 1):
            place = tasks.index(task)
            for earlier in range(place):  # a task that was done is not asked again
                done[earlier] = done[earlier] or tasks[earlier].is_done()
            if missing := [tasks[earlier].title for earlier in range(place) if not done[earlier]]:
                raise ValueError(
                    f"{task.title}: run {', '.join(missing)} first, with these settings and data"
                )
            done[place] = names is None and task.is_done()
            if done[place]:
                logger.info("%s: already done, skipped", task.title)
                continue
            logger.info("%s: started, %d of %d", task.title, index, len(selected))
            run_task(task)
            done[place] = True


def _is_meant(task: Task, names: tuple[str, ...], iteration: int) -> bool:
    if task.stage.name == "export":
        return "export" in names
    return task.stage.name in names and task.recipe.number == iteration


def join_training(tasks: Sequence[Task], skip_done: bool) -> None:
    """Take part in the training that the first process has begun; it alone runs other stages.

    Raises ValueError if that process has not come so far.
    """
    for task in tasks:
        if skip_done and task.is_done():
            continue
        if task.stage.name not in TRAININGS:
            raise ValueError(
                f"{task.title}: is run by the first process only; call the stages"
                f" {' and '.join(TRAININGS)} by name on further machines"
            )
        task.stage.run(task.recipe, task.workspace)


def run_task(task: Task) -> None:
    """Run `task`, and note what it was made of and how long it took."""
    name, start_s = task.stage.name, time.monotonic()
    task.workspace.root.mkdir(parents=True, exist_ok=True)
    with made_of(task.workspace, name, INPUTS[name](task.recipe, task.workspace)):
        task.stage.run(task.recipe, task.workspace)
    took_s = time.monotonic() - start_s
    record_time(task.workspace, name, took_s)
    logger.info("%s: done in %s", task.title, duration(took_s))


def record_time(workspace: Workspace, stage: str, seconds: float) -> None:
    """Add `seconds` to the total duration of `stage` over all its runs; the card shows it."""
    totals = read_json(workspace.seconds, default={})
    totals[stage] = round(totals.get(stage, 0.0) + seconds, 1)
    write_json(workspace.seconds, totals)
