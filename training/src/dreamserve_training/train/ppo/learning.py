"""Learn C by PPO in dreams of a bundle that begin at real moments.

policy = learn(Path("bundles/takecover"), Path("runs/ppo"), PPOConfig(reward={"end": -1.0}))
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dreamserve.backends.choose import BackendName, cores
from dreamserve.engine.world import World
from dreamserve.loading import load_world
from dreamserve.trust import UNTRUSTED, Trust
from dreamserve_training.data.digests import folder_digest
from dreamserve_training.models.controller import Layer, LayeredPolicy, policy_of
from dreamserve_training.progress import show_progress
from dreamserve_training.runs.locks import locked
from dreamserve_training.runs.pools import worker_pool
from dreamserve_training.runs.records import Record, describe
from dreamserve_training.runs.signals import stoppable
from dreamserve_training.train.ppo.config import Features, PPOConfig
from dreamserve_training.train.ppo.dreams import Dreams
from dreamserve_training.train.ppo.learner import Learner
from dreamserve_training.train.ppo.resumable import CHECKPOINT_FILE, learn_to_the_end, one_thread


def learn(
    bundle: Path,
    directory: Path,
    config: PPOConfig,
    restart: bool = False,
    initial: LayeredPolicy | None = None,
    trust: Trust = UNTRUSTED,
) -> LayeredPolicy:
    """Learn a controller in dreams of `bundle`, starting from `initial`, and return it.

    `directory`/ppo_last.ckpt holds the unfinished learning, so the same call goes on after an
    interruption and arrives at the same bits; with more iterations it goes on. ppo_run.json says
    what was learned with. It computes on a CUDA device if there is one and `trust` lets the
    bundle's TorchScript run, else on one thread of the CPU. Of several `learnings`, each has a
    folder in `directory` and a process of its own, and the mean of their controllers is returned.

    Raises MismatchError for a learning in `directory` of another bundle or other settings (with
    `restart` it is removed), LockedError if another process learns there, DivergedError for dreams
    or losses that are not finite, BackendError for a device that cannot be used, and ValueError for
    a reward or inputs that the world lacks.
    """
    bundle, directory = bundle.resolve(), directory.resolve()
    if config.learnings > 1:
        return _mean_of_learnings(bundle, directory, config, restart, initial, trust)
    show_progress()
    with stoppable(), locked(directory, "learning"), one_thread():
        backend: BackendName = "torch-cuda" if _on_cuda(config, trust) else "onnx"
        learner = dreaming(load_world(bundle, backend, threads=1, trust=trust), config, initial)
        learn_to_the_end(learner, directory, _record(bundle, config, initial), restart)
    return learner.model.policy()


def dreaming(world: World, config: PPOConfig, initial: LayeredPolicy | None = None) -> Learner:
    """Return a learner in dreams of `world`. Raises ValueError as `Learner` does."""
    dreams = Dreams(world, Features.of(world.spec, config), config)
    return Learner(world.spec, config, dreams, initial)


def checkpoint_of(directory: Path, config: PPOConfig) -> Path:
    """Return the checkpoint of a learning in `directory`, of several that with the first seed."""
    folder = directory / f"seed-{config.seed}" if config.learnings > 1 else directory
    return folder / CHECKPOINT_FILE


def _mean_of_learnings(
    bundle: Path,
    directory: Path,
    config: PPOConfig,
    restart: bool,
    initial: LayeredPolicy | None,
    trust: Trust,
) -> LayeredPolicy:
    """Learn with several seeds at once; return the controller whose scores are their mean.

    What a controller makes use of in its dreams by chance differs between learnings, and what is
    true of the world does not.
    """
    with worker_pool(min(config.learnings, config.learners or cores())) as pool:
        jobs = [
            pool.submit(
                learn,
                bundle,
                checkpoint_of(directory, replace(config, seed=seed)).parent,
                replace(config, learnings=1, seed=seed),
                restart,
                initial,
                trust,
            )
            for seed in range(config.seed, config.seed + config.learnings)
        ]
        policies = [job.result() for job in jobs]
    linear = [policy.layers[0] for policy in policies]
    weights = np.stack([layer.weights for layer in linear]).mean(axis=0)
    bias = np.stack([layer.bias for layer in linear]).mean(axis=0)
    return policy_of([Layer(weights, bias)], policies[0].inputs)


def _on_cuda(config: PPOConfig, trust: Trust) -> bool:
    if config.device == "auto":
        return trust.trust_torchscript and torch.cuda.is_available()
    return config.device == "cuda"


def _record(bundle: Path, config: PPOConfig, initial: LayeredPolicy | None) -> Record:
    settings = describe(config)
    budget = {"iterations": settings.pop("iterations")}
    start = None if initial is None else initial.digest()
    return Record("C", settings, budget, {"bundle": folder_digest(bundle), "initial": start})
