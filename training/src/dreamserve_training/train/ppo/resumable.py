"""A learning on disk: it goes on after a stop, and arrives at the same bits."""

import logging
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dreamserve_training.models.checkpoint import CheckpointError
from dreamserve_training.progress import SECONDS_BETWEEN_LINES
from dreamserve_training.runs.errors import DivergedError
from dreamserve_training.runs.records import Record, begin, finish
from dreamserve_training.train.checkpoints import AtomicCheckpoints
from dreamserve_training.train.ppo.learner import Learner

logger = logging.getLogger("dreamserve_training")
CHECKPOINT_FILE, RECORD_FILE = "ppo_last.ckpt", "ppo_run.json"
SECONDS_BETWEEN_CHECKPOINTS = 30.0


def learn_to_the_end(learner: Learner, directory: Path, record: Record, restart: bool) -> None:
    """Let `learner` go on from the checkpoint in `directory`, if there is one, to its end.

    Raises MismatchError for a checkpoint of another `record` (with `restart` it is removed), and
    DivergedError, which names the iteration.
    """
    path, record_path = directory / CHECKPOINT_FILE, directory / RECORD_FILE
    reached = _reached(path, learner.config.iterations)
    begin(record_path, record, (path,), reached=reached, restart=restart)
    if (content := read_checkpoint(path)) is not None:
        learner.restore(content)
    _run(learner, path)
    finish(record_path, iterations=learner.iteration, **learner.last())


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the content of a learning's checkpoint; None if there is none.

    CheckpointError for another file.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        content["iteration"], content["model"], content["source"]
    except FileNotFoundError:
        return None
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.PickleError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of a learning ({error})") from error
    return content


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread in the block: results do not depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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


def _reached(path: Path, iterations: int) -> str:
    """Return why the learning at `path` cannot end after `iterations`; empty if it can."""
    try:
        content = read_checkpoint(path)
    except CheckpointError as error:
        return f"it cannot be read ({error})"
    done = 0 if content is None else int(content["iteration"])
    more = done > iterations
    return f"it has {done} iterations and is now asked for {iterations}" if more else ""
