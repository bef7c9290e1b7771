"""One training in several processes, on one machine or several, by Lightning's strategies.

Lightning runs this process's command again for every further device. Batches are shared, so the
processes together train as one does. The first process writes; the others end with the training.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import lightning
import torch

Strategy = Literal["auto", "ddp"]
RANKS = ("RANK", "SLURM_PROCID", "GROUP_RANK", "NODE_RANK", "LOCAL_RANK")
LAUNCHED = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
ENDS_WITHIN_S = 10.0  # after SIGTERM
EXITS_WITHIN_S = 60.0  # after the training


class Places(Protocol):
    """The options that say where a training runs."""

    @property
    def devices(self) -> int:
        """Devices of each machine."""

    @property
    def num_nodes(self) -> int:
        """Machines."""

    @property
    def strategy(self) -> Strategy:
        """Lightning's."""


@dataclass(frozen=True)
class OneDevice:
    """A training in this process."""

    devices: int = 1
    num_nodes: int = 1
    strategy: Strategy = "auto"


ONE_DEVICE = OneDevice()


def leads(places: Places) -> bool:
    """Return whether this is the first process of a training, which writes its files."""
    alone = places.devices * places.num_nodes == 1
    return alone or all(os.environ.get(name, "0") == "0" for name in RANKS)


@contextmanager
def processes_of(trainer: lightning.Trainer) -> Iterator[None]:
    """Run a training in the block; its other processes have ended after it, however it ends.

    After the block a further training may begin in this process; others exit with status 0.
    """
    before = {name: os.environ.get(name) for name in LAUNCHED}
    patience_s = 0.0
    try:
        yield
        if not trainer.is_global_zero:
            raise SystemExit(0)
        patience_s = EXITS_WITHIN_S
    finally:
        if trainer.world_size > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for process in _launched(trainer):
            _end(process, patience_s)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def gathered(texts: str) -> list[str]:
    """Return the text of every process, by rank."""
    every: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(every, texts)
    return every


def summed(numbers: torch.Tensor) -> torch.Tensor:
    """Return the sum of the tensors of all processes, of the same shape."""
    total = numbers.clone()
    torch.distributed.all_reduce(total)
    return total


def _launched(trainer: lightning.Trainer) -> list[subprocess.Popen[bytes]]:
    launcher = trainer.strategy.launcher
    return list(getattr(launcher, "procs", ()))


def _end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Wait for a process, at first for `patience_s`; then end it, which it may refuse once."""
    for wait_s, end in (
        (patience_s, process.terminate),
        (ENDS_WITHIN_S, process.kill),
    ):
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            end()
    process.wait(ENDS_WITHIN_S)
