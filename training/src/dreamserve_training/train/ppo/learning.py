"""Learn C by PPO in dreams of a bundle that begin at real moments.

policy = learn(Path("bundles/takecover"), Path("runs/ppo"), PPOConfig(reward={"end": -1.0}))
"""

import logging
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dreamserve.backends.choose import BackendName, cores
from dreamserve.loading import load_world
from dreamserve.trust import UNTRUSTED, Trust
from dreamserve_training.data.digests import folder_digest
from dreamserve_training.models.checkpoint import CheckpointError
from dreamserve_training.models.controller import Layer, LayeredPolicy, policy_of
from dreamserve_training.progress import SECONDS_BETWEEN_LINES, show_progress
from dreamserve_training.runs.errors import DivergedError
from dreamserve_training.runs.locks import locked
from dreamserve_training.runs.pools import worker_pool
from dreamserve_training.runs.records import Record, begin, describe, finish
from dreamserve_training.runs.signals import stoppable
from dreamserve_training.train.checkpoints import AtomicCheckpoints
from dreamserve_training.train.ppo.config import PPOConfig
from dreamserve_training.train.ppo.learner import Learner

logger = logging.getLogger("dreamserve_training")
CHECKPOINT_FILE, RECORD_FILE = "ppo_last.ckpt", "ppo_run.json"
SECONDS_BETWEEN_CHECKPOINTS = 30.0


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
    path, record_path = directory / CHECKPOINT_FILE, directory / RECORD_FILE
    show_progress()
    with stoppable(), locked(directory, "learning"), _one_thread():
        backend: BackendName = "torch-cuda" if _on_cuda(config, trust) else "onnx"
        learner = Learner(load_world(bundle, backend, threads=1, trust=trust), config, initial)
        record = _record(bundle, config, initial)
        reached = _reached(path, config.iterations)
        begin(record_path, record, (path,), reached=reached, restart=restart)
        if (content := _read(path)) is not None:
            learner.restore(content)
        _run(learner, path)
        finish(record_path, iterations=learner.iteration, **learner.last())
    return learner.model.policy()


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
                directory / f"seed-{seed}",
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


def _run(learner: Learner, path: Path) -> None:
    """Learn to the end; write the checkpoint from time to time, and at the end."""
    saved_s = said_s = time.monotonic()
    total = learner.config.iterations
    while learner.iteration < total:
        try:
            figures = learner.iterate()
        except DivergedError as error:
            raise DivergedError(f"iteration {learner.iteration + 1}: {error}") from error
        now_s, ended = time.monotonic(), learner.iteration == total
        if ended or now_s - saved_s >= SECONDS_BETWEEN_CHECKPOINTS:
            AtomicCheckpoints().save_checkpoint(learner.content(), path)
            saved_s = now_s
        if ended or now_s - said_s >= SECONDS_BETWEEN_LINES:
            said_s = now_s
            logger.info(
                "seed %d  iteration %d/%d  reward %.4g a step  ends %.3g in 1,000 steps"
                "  entropy %.3f  %.0f steps/s",
                *(learner.config.seed, learner.iteration, total),
                *(figures["reward"], figures["ends"]),
                *(figures["entropy"], figures["steps_per_s"]),
            )


def _record(bundle: Path, config: PPOConfig, initial: LayeredPolicy | None) -> Record:
    settings = describe(config)
    budget = {"iterations": settings.pop("iterations")}
    start = None if initial is None else initial.digest()
    return Record("C", settings, budget, {"bundle": folder_digest(bundle), "initial": start})


def _reached(path: Path, iterations: int) -> str:
    """Return why the learning at `path` cannot end after `iterations`; empty if it can."""
    try:
        content = _read(path)
    except CheckpointError as error:
        return f"it cannot be read ({error})"
    done = 0 if content is None else int(content["iteration"])
    more = done > iterations
    return f"it has {done} iterations and is now asked for {iterations}" if more else ""


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        content["iteration"], content["model"], content["dreams"]
    except FileNotFoundError:
        return None
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.PickleError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of a learning ({error})") from error
    return content


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread in the block: results do not depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
