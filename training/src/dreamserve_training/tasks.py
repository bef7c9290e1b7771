"""The tasks of a recipe: the stages of every pass in their order. Done ones are skipped.

A task is done if its output exists and was made of what the recipe and the files say now.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dreamserve.observations import FrameSpec
from dreamserve_training.export.writing import refuse_to_overwrite
from dreamserve_training.files import remove_partials
from dreamserve_training.passes import resolve_passes
from dreamserve_training.probe import probe
from dreamserve_training.progress import duration
from dreamserve_training.recipe import ResolvedRecipe
from dreamserve_training.recipe_files import load_recipe
from dreamserve_training.runs.locks import locked
from dreamserve_training.runs.records import describe
from dreamserve_training.runs.signals import stoppable
from dreamserve_training.stage_inputs import INPUTS, made_of
from dreamserve_training.stages import STAGES, Stage, bundle_version, export
from dreamserve_training.train.devices import check_device
from dreamserve_training.train.ppo.config import PPOConfig
from dreamserve_training.train.processes import leads
from dreamserve_training.workspace import Workspace, read_json, write_json

logger = logging.getLogger("dreamserve_training")
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


@dataclass(frozen=True)
class Export(Task):
    """The last task of a run, which writes its bundle."""

    bundle: Path

    def is_done(self) -> bool:
        """Return whether the bundle is there, and is the one that the present inputs made."""
        made = read_json(self.workspace.exported, default=None)
        return super().is_done() and made == bundle_version(self.bundle)


def tasks_of(passes: Sequence[ResolvedRecipe], workspace: Workspace, bundle: Path) -> list[Task]:
    """Return all tasks in their order; the bundle is that of the last pass."""
    tasks = []
    workspaces = workspaces_of(passes, workspace)
    for recipe, each in zip(passes, workspaces, strict=True):
        left_out = {
            *(() if recipe.trains_vae else ("vae",)),
            *(() if recipe.finetune else ("finetune",)),
        }
        stages = [stage for stage in STAGES if stage.name not in left_out]
        tasks += [Task(stage, recipe, each) for stage in stages]
    last = Stage("export", partial(export, bundle=bundle), lambda w: w.exported)
    return [*tasks, Export(last, passes[-1], workspaces[-1], bundle)]


def workspaces_of(passes: Sequence[ResolvedRecipe], first: Workspace) -> list[Workspace]:
    """Return the workspace of every pass; that of the first one is `first`."""
    workspaces = [first]
    for recipe in passes[1:]:
        workspaces.append(workspaces[-1].next(recipe.trains_vae))
    return workspaces


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
    unknown recipe, for a stage whose input is missing or outdated and for a device that this
    machine lacks, ExportError for a `bundle` that is something else, and LockedError if another
    process runs stages in `root`.
    """
    if names is None or "export" in names:
        refuse_to_overwrite(bundle)  # hours before it is written
    written = load_recipe(name)
    workspace = Workspace(root, written.memory, restart)
    root.mkdir(parents=True, exist_ok=True)
    passes = resolve_passes(written, probe(written, workspace))
    tasks = tasks_of(passes, workspace, bundle)
    selected = [task for task in tasks if names is None or _is_meant(task, names, iteration)]
    if not selected:
        raise ValueError(f"the recipe has {len(passes) - 1} iterations, without such a stage")
    _check_devices(selected, skip_done=names is None)
    if not (leads(passes[0].vae) and leads(passes[0].train)):
        join_training(selected, skip_done=names is None)
        return
    with stoppable(), locked(root, "recipe"):
        remove_partials(root)
        _note_recipe(passes[-1], workspace.recipe)
        run_in_order(tasks, selected, skip_done=names is None)


def _note_recipe(last: ResolvedRecipe, path: Path) -> None:
    """Note how the run ends: files of a longer recipe may lie there, too."""
    now = {"iterations": last.number, "finetune": last.finetune is not None}
    if read_json(path, default=None) != now:
        write_json(path, now)


def run_in_order(tasks: Sequence[Task], selected: Sequence[Task], skip_done: bool) -> None:
    """Run the `selected` of all `tasks`. ValueError if one before them is not done."""
    done = [False] * len(tasks)
    for index, task in enumerate(selected, 1):
        place = tasks.index(task)
        for earlier in range(place):  # a task that was done is not asked again
            done[earlier] = done[earlier] or tasks[earlier].is_done()
        if missing := [tasks[earlier].title for earlier in range(place) if not done[earlier]]:
            raise ValueError(
                f"{task.title}: run {', '.join(missing)} first, with these settings and data"
            )
        done[place] = skip_done and task.is_done()
        if done[place]:
            logger.info("%s: already done, skipped", task.title)
            continue
        logger.info("%s: started, %d of %d", task.title, index, len(selected))
        run_task(task)
        done[place] = True


def _check_devices(tasks: Sequence[Task], skip_done: bool) -> None:
    """Raise ValueError for a stage whose device this machine lacks, unless it is done and skipped.

    A run may go on elsewhere than on the machine with the GPU.
    """
    for task in tasks:
        device, devices = _device_of(task)
        try:
            check_device(device, devices)
        except ValueError as error:
            if not (skip_done and task.is_done()):
                raise ValueError(f"{task.title}: {error}") from error


def _device_of(task: Task) -> tuple[str, int]:
    """Return the device on which a stage trains, and how many; of other stages the CPU."""
    recipe = task.recipe
    if task.stage.name == "vae" and isinstance(recipe.env.observation, FrameSpec):
        return "auto", recipe.vae.devices
    if task.stage.name == "memory":
        return recipe.train.device, recipe.train.devices
    if task.stage.name == "controller" and isinstance(recipe.controller, PPOConfig):
        return recipe.controller.device, 1
    return "cpu", 1


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
