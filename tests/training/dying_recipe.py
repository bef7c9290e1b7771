"""Run a tiny recipe that is killed again and again, and one that is not.

python tests/training/dying_recipe.py BUNDLE FOLDER

Runs die in each stage, at several of its writes, before the file gets its name: by SIGKILL and
SIGTERM in turn. The folder is then moved. This process only forks the runs, so torch is imported
once. BUNDLE stands for what the export writes. So does, from the same first data, a recipe whose
controller is a network that learns by PPO; it dies while it learns again. Prints a JSON object: the
`deaths`, each as [stage, exit status], what a changed recipe is `told`, and how many iterations the
network had `learned` in dreams and in reality when it died.
"""

import itertools
import json
import logging
import os
import shutil
import signal
import sys
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import torch

from dreamserve_training import stages, tasks
from dreamserve_training.data import collect
from dreamserve_training.evaluation import real
from dreamserve_training.recipe import Iteration, Recipe
from dreamserve_training.train import controller
from dreamserve_training.train.ppo import finetune, resumable


class Toy(gymnasium.Env):
    """Noise, until an action or chance ends it."""

    observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._frame(), {}

    def step(self, action):
        return self._frame(), 1.0, bool(self.np_random.random() < 0.05 + 0.05 * action), False, {}

    def _frame(self):
        return self.np_random.integers(1, 256, (64, 64, 3), dtype=np.uint8)


DEATHS = [
    (stage, write, number)
    for stage in ("collect", "vae", "encode", "memory", "controller", "evaluate", "export")
    for write, number in ((1, signal.SIGTERM), (2, signal.SIGKILL))
]
DEATHS += [
    (f"{stage} of iteration 1", 1 + number % 2, signal.SIGTERM if number % 2 else signal.SIGKILL)
    for number, stage in enumerate(("collect", "vae", "encode", "memory", "controller", "evaluate"))
]
DEATHS.sort(key=lambda death: death[0].startswith("export"))  # it comes last
DEATHS.insert(4, ("vae", 4, signal.SIGKILL))  # in the middle of training
DEATHS.insert(9, ("memory", 3, signal.SIGTERM))
RECIPE = Recipe(
    name="toy",
    env=Toy,
    max_episode_steps=20,
    collect={"episodes": 6},
    vae={"z_dim": 4, "frames": 16, "validation_frames": 4, "epochs": 2, "batch_size": 8},
    memory_options={"rnn_size": 8, "num_mixtures": 2},
    train={"epochs": 2, "mixed_precision": False},
    batch_size=4,
    sequence_length=8,
    controller={"generations": 2, "population": 4, "episodes": 1, "max_steps": 5},
    evaluate={"episodes": 2, "dream_temperatures": (1.0,), "plan_episodes": 0},
    constant_reward=1.0,
    baselines={"sweep 2": (1, 1, 2, 2)},
    iterations=(Iteration(episodes=6, vae={"epochs": 1}, controller={"generations": 3}),),
)
LEARNED = replace(
    RECIPE,
    controller={
        "method": "ppo",
        "hidden": 4,
        "iterations": 3,
        "dreams": 8,
        "steps": 4,
        "dream_steps": 6,
        "minibatch": 16,
    },
    finetune={"iterations": 3, "episodes": 2},
    iterations=(Iteration(episodes=6, controller={"iterations": 4}),),
)


class Inline(Executor):
    """Runs jobs in this process."""

    def submit(self, function, *arguments):
        job = Future()
        job.set_result(function(*arguments))
        return job


@contextmanager
def inline_pool(count):
    yield Inline()


def prepare(bundle):
    """Replace what starts processes, and what takes long: the export."""
    for module in (collect, real, controller, finetune):
        module.worker_pool = inline_pool
    stages.write_draft = lambda recipe, workspace: copied(bundle, workspace.draft)
    stages.write_bundle = lambda recipe, workspace, out: copied(bundle, out)


def copied(bundle, out):
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(bundle, out)
    return []  # no verdicts


def in_child(run):
    """Run `run` in a forked process; return its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        try:
            run()
        except SystemExit as stop:
            os._exit(stop.code)
        except BaseException:
            logging.exception("the run failed")
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(root, recipe=RECIPE, names=None):
    tasks.load_recipe = lambda name: recipe
    tasks.run_stages("toy", root, root / "bundle", names)


def run_until(root, name, last, number, recipe=RECIPE):
    """Run a recipe, and die by the signal `number` at write `last` of the stage `name`."""
    writes, fsync, run_task = itertools.count(1), os.fsync, tasks.run_task
    current = ["none"]

    def noted(task):
        current[0] = task.title
        run_task(task)
        if task.title == name:
            raise SystemExit(0)

    def die(file):
        fsync(file)
        if current[0] == name and next(writes) == last:
            signal.raise_signal(number)

    tasks.run_task, os.fsync = noted, die
    run(root, recipe)


def refusal(root, recipe, names=None):
    """Return what a changed recipe is told."""
    try:
        run(root, recipe, names)
    except ValueError as error:
        return str(error)
    return "done"


def learned_in_two_lives(folder):
    """Run LEARNED undisturbed, and killed while it learns in dreams and in reality.

    Return how many iterations it had done both times.
    """
    for name in ("learned", "learned-killed"):
        shutil.copytree(folder / "undisturbed", folder / name)
        shutil.rmtree(folder / name / "iterations")
    assert in_child(partial(run, folder / "learned", LEARNED)) == 0
    root, done = folder / "learned-killed", []
    # the last of their writes: inputs of the draft, the record, a checkpoint after each iteration
    for stage, last in (("controller", 5), ("finetune", 3)):
        title = f"{stage} of iteration 1"
        dies = partial(run_until, root, title, last, signal.SIGKILL, LEARNED)
        assert in_child(dies) == -signal.SIGKILL
        kept = torch.load(root / "iterations" / "1" / stage / "ppo_last.ckpt")
        done.append(kept["iteration"])
    assert in_child(partial(run, root, LEARNED)) == 0
    return done


def main():
    bundle, folder = Path(sys.argv[1]), Path(sys.argv[2])
    prepare(bundle)
    told, deaths = folder / "told", []
    resumable.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    assert in_child(lambda: run(folder / "undisturbed")) == 0
    root = folder / "run"
    for index, (stage, write, number) in enumerate(DEATHS):
        deaths.append((stage, in_child(partial(run_until, root, stage, write, number))))
        root = root.rename(folder / f"moved-{index}")
    assert in_child(partial(run, root)) == 0
    root = root.rename(folder / "killed")
    shutil.copytree(root, folder / "changed")

    def changed():
        vae, train = {**RECIPE.vae, "lr": 0.5}, {**RECIPE.train, "epochs": 3}
        tries = [
            refusal(folder / "changed", replace(RECIPE, vae=vae)),
            refusal(folder / "changed", replace(RECIPE, train=train), ("evaluate",)),
            refusal(folder / "changed", replace(RECIPE, train=train), ("memory",)),
        ]
        told.write_text(json.dumps(tries))

    assert in_child(changed) == 0
    learned = learned_in_two_lives(folder)
    said = {"deaths": deaths, "told": json.loads(told.read_text()), "learned": learned}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
