"""Analytic worlds, each written once for all tests, and the engine's values of sequences."""

import time

import numpy as np
import pytest

from dreamserve.backends.torch_device import TorchDeviceBackend
from dreamserve.bundle import load_bundle
from dreamserve.engine.imagination.evaluator import CandidateEvaluator
from dreamserve.engine.imagination.trajectories import RolloutStart
from dreamserve.engine.work import Job, finish
from dreamserve.engine.world import World
from dreamserve.loading import load_world
from dreamserve.trust import Trust
from dreamserve_training.evaluation.analytic import (
    Bandit,
    deceptive_tree,
    ending_tree,
    random_system,
    random_tree,
    write_world,
)

TRUSTED = Trust(trust_torchscript=True)
WORLDS = {
    "linear": random_system(seed=0, bound=1.0),
    "linear-noisy": random_system(seed=1, states=3, actions=1, bound=0.25, sigma=0.2),
    "tree": random_tree(depth=6),
    "tree-deceptive": deceptive_tree(depth=6),
    "tree-ending": ending_tree(depth=6),
    "bandit": Bandit(),
}


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Return a function from a world's name to its bundle, written at its first use."""
    folder, paths = tmp_path_factory.mktemp("analytic"), {}

    def path_of(name):
        if name not in paths:
            paths[name] = write_world(folder / name, WORLDS[name])
        return paths[name]

    return path_of


@pytest.fixture(scope="session", params=["onnx", "torch", "rows of a device"])
def loaded(request, written):
    """Return a function from a name to (analytic world, loaded world), on each backend."""

    def world_of(name):
        if request.param != "rows of a device":
            return WORLDS[name], load_world(written(name), request.param, trust=TRUSTED)
        bundle = load_bundle(written(name))
        backend = TorchDeviceBackend.from_bundle(bundle, device="cpu")
        return WORLDS[name], World(bundle.manifest, backend, bundle.bank)

    return world_of


@pytest.fixture(scope="session")
def dreamt_values():
    """Return the engine's values of sequences (N, H, …) from a bank entry."""

    def values(world, actions, *, entry=0, discount=1.0, temperature=0.0, seed=0):
        present = RolloutStart(world, world.bank["mu"][entry : entry + 1], (), 0, temperature)
        judge = CandidateEvaluator(present, slice_rows=512, discount=discount)
        work = judge.evaluate(np.ascontiguousarray(actions), seed)
        return finish(Job(work), time.monotonic).values

    return values
