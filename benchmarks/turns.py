"""What trains in turn: an epoch of ours, then as many steps of the peer's process."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from tables import PEERS

PEER = PEERS / "world-models"


class Peer:
    """The peer's process: it trains when it is told to."""

    def __init__(self) -> None:
        if not (PEER / "models").is_dir():
            sys.exit("the peer is missing: benchmarks/peers/install-world-models, or --no-peers")
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "peers" / "world_models.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(PEER), "OMP_NUM_THREADS": "1"},
        )

    def __call__(self, model: str, command: str, **arguments: Any) -> Any:
        """Run one command and return its result."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"model": model, "command": command, "arguments": arguments}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        if not (line := self.process.stdout.readline()):
            sys.exit("the peer's process has failed")
        return json.loads(line)


class Turns(Callback):
    """Times each epoch of ours, without its validation, and then lets the peer do as many steps.

    `models` are the peer's, with the most steps of an epoch. `rounds` are the steps, wall_s and
    cpu_s of "ours" and of the peer's models in each epoch.
    """

    def __init__(self, peer: Peer | None, models: dict[str, int]) -> None:
        self.peer, self.models = peer, models
        self.rounds: list[dict[str, dict[str, float]]] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        """Start the clocks."""
        self.began_s = clocks()

    def on_train_batch_end(self, trainer: Any, module: Any, out: Any, batch: Any, i: int) -> None:
        """Stop the clocks after the last batch."""
        if i + 1 == trainer.num_training_batches:
            wall_s, cpu_s = (now - then for now, then in zip(clocks(), self.began_s, strict=True))
            self.rounds.append({"ours": {"steps": i + 1, "wall_s": wall_s, "cpu_s": cpu_s}})

    def on_train_epoch_end(self, *_: Any) -> None:
        """Let the peer train."""
        for model, most in self.models.items() if self.peer else ():
            steps = min(most, int(self.rounds[-1]["ours"]["steps"]))
            self.rounds[-1][model] = {"steps": steps, **self.peer(model, "train", steps=steps)}

    def rates(self, name: str, clock: str) -> list[float]:
        """Return the steps per second of each round; the first, which warms up, is left out."""
        rounds = self.rounds[1:] or self.rounds
        return [each[name]["steps"] / each[name][clock] for each in rounds]

    def ratio(self, name: str, clock: str) -> list[float]:
        """Return how many times as fast ours is, of each round."""
        pairs = zip(self.rates("ours", clock), self.rates(name, clock), strict=True)
        return [ours / theirs for ours, theirs in pairs]


def clocks() -> tuple[float, float]:
    """Return wall time and this process's CPU time, in seconds."""
    return time.perf_counter(), time.process_time()
