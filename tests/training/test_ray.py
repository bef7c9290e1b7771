"""Jobs on Ray: the same results as in this process, also when a worker is killed."""

import os
import signal
import sys
from concurrent.futures import Executor, Future
from contextlib import contextmanager

import numpy as np
import pytest
from typer.testing import CliRunner

from dreamserve_training import cli
from dreamserve_training.data.collect import CollectConfig, collect, record_episode
from dreamserve_training.data.episodes import load_episode
from dreamserve_training.models.controller import Axis
from dreamserve_training.probe import probe
from dreamserve_training.recipe_files import load_recipe
from dreamserve_training.runs import pools
from dreamserve_training.runs.errors import WorkerError
from dreamserve_training.runs.pools import using, worker_pool
from dreamserve_training.train import controller
from dreamserve_training.train.controller import ControllerConfig, evolve

RECIPE = '''
import os, signal
from pathlib import Path
import gymnasium
from dreamserve_training.recipe import Recipe

class Dying(gymnasium.Wrapper):
    """CartPole that kills its worker in the episode of seed 2, the first time."""

    def reset(self, seed=None, options=None):
        mark = Path(__file__).with_name("killed")
        if seed == 2 and os.getppid() != {parent} and not mark.exists():
            mark.write_text(os.getcwd())
            os.kill(os.getpid(), signal.SIGKILL)
        return self.env.reset(seed=seed, options=options)

RECIPE = Recipe(env=lambda: Dying(gymnasium.make("CartPole-v1")))
'''


@pytest.fixture(scope="module")
def ray():
    """Start a cluster of two CPUs, which the pools of this module use."""
    pytest.importorskip("ray", reason="pip install 'dreamserve-training[ray]'")
    from dreamserve_training.runs.ray_pool import ray_cluster

    before = signal.getsignal(signal.SIGTERM)
    with ray_cluster(2) as module, using("ray"):
        assert signal.getsignal(signal.SIGTERM) is before
        yield module


def test_a_killed_worker_costs_only_its_episodes_and_all_are_as_in_this_process(ray, tmp_path):
    (tmp_path / "dying.py").write_text(RECIPE.replace("{parent}", str(os.getppid())))
    spec = probe(load_recipe(str(tmp_path / "dying.py"))).env
    config = CollectConfig(episodes=6, workers=2)
    steps = []
    collect(spec, tmp_path / "episodes", config, lambda done, total: steps.append(done))
    killed_in = (tmp_path / "killed").read_text()  # in a folder of its own
    assert os.path.basename(killed_in).startswith("worker-")
    assert not os.path.exists(killed_in)
    assert steps == list(range(7))
    env = spec.open()
    for seed in config.seeds:
        made = load_episode(tmp_path / "episodes" / f"episode-{seed:06d}.npz")
        alone = record_episode(env, config, seed)
        assert made.keys() == alone.keys()
        for name, values in alone.items():
            assert np.array_equal(made[name], values), (seed, name)


class Inline(Executor):
    """Runs jobs in this process."""

    def submit(self, function, *arguments):
        job = Future()
        job.set_result(function(*arguments))
        return job


def test_a_population_on_ray_evolves_as_in_this_process(ray, tiny_bundle, tmp_path, monkeypatch):
    config = ControllerConfig(
        Axis(actions=3, still=0, positive=1, negative=2),
        generations=2,
        population=4,
        episodes=2,
        max_steps=5,
    )
    remote = evolve(tiny_bundle, tmp_path / "ray", config)

    @contextmanager
    def inline_pool(count):
        yield Inline()

    monkeypatch.setattr(controller, "worker_pool", inline_pool)
    alone = evolve(tiny_bundle, tmp_path / "alone", config)
    assert np.array_equal(remote.weights, alone.weights)
    assert np.array_equal(remote.bias, alone.bias)


def test_a_job_raises_what_its_function_raised(ray):
    with worker_pool(2) as pool:
        good, bad = pool.submit(int, "12"), pool.submit(int, "twelve")
        assert good.result() == 12
        with pytest.raises(ValueError, match="invalid literal"):
            bad.result()


def test_a_job_that_always_kills_its_worker_is_an_error(ray, monkeypatch):
    monkeypatch.setattr("dreamserve_training.runs.ray_pool.RETRIES", 0)
    with worker_pool(2) as pool:
        job = pool.submit(os._exit, 1)
        with pytest.raises(WorkerError, match="a worker of the Ray cluster was lost"):
            job.result()


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with using("ray"), pytest.raises(ImportError, match=r"dreamserve-training\[ray\]"):
        worker_pool(1).__enter__()


def test_an_unknown_executor_is_refused():
    with pytest.raises(ValueError, match="known executors: local, ray"), using("slurm"):
        pass


@pytest.mark.parametrize("command", ["collect", "controller", "evaluate", "recipe"])
def test_commands_that_play_take_the_executor(command, monkeypatch):
    used = []
    monkeypatch.setattr(cli, "_run", lambda *_, **__: used.append(pools._chosen.get()))
    runner = CliRunner()
    for options in ([], ["--executor", "ray"]):
        assert runner.invoke(cli.app, [command, "takecover", *options]).exit_code == 0
    assert used == ["local", "ray"]
