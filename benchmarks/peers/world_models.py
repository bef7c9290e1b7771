"""Trains V and M of ctallec/world-models: one command a line on stdin, one result on stdout.

`benchmarks/training.py` starts it with the peer's clone on PYTHONPATH. Models and losses are the
peer's own: its scripts train when they are imported, so their functions are taken out of their
source. Batches are made before the clock starts, so the peer's loaders cost nothing.
"""

import ast
import json
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from models import mdrnn as memory_module
from models import vae as vision_module
from torch.nn import functional

LATENT, HIDDEN, MIXTURES, SIDE = 32, 256, 5, 64  # as in the peer's scripts


def function_of(script: str, name: str, names: dict[str, Any]) -> Any:
    """Return the function `name` of one of the peer's scripts, with `names` as its globals."""
    path = Path(memory_module.__file__).parents[1] / script
    found = [node for node in ast.parse(path.read_text()).body if getattr(node, "name", "") == name]
    exec(compile(ast.Module(found, []), str(path), "exec"), names)
    return names[name]


def pictures(frames: Any) -> torch.Tensor:
    """Return frames (..., H, W, C) uint8 as (..., C, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, -3), np.float32) / 255)


class Vision:
    """Its V: Adam on batches of frames."""

    def __init__(self, train: str, holdout: str, batch: int) -> None:
        self.train, self.holdout, self.batch = np.load(train), np.load(holdout), batch
        self.model = vision_module.VAE(3, LATENT)
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.loss = function_of("trainvae.py", "loss_function", {"F": functional, "torch": torch})
        self.rng = np.random.default_rng(0)
        self.order: list[int] = []

    def batches(self, steps: int) -> list[Any]:
        """Return the next batches of a shuffled pass."""
        if len(self.order) < steps * self.batch:
            self.order = self.rng.permutation(len(self.train)).tolist()
        rows = [[self.order.pop() for _ in range(self.batch)] for _ in range(steps)]
        return [pictures(self.train[each]) for each in rows]

    def step(self, batch: torch.Tensor) -> None:
        """Train on one batch."""
        self.optimizer.zero_grad()
        loss = self._loss_of(batch)
        loss.backward()
        loss.item()
        self.optimizer.step()

    @torch.no_grad()
    def held_out(self) -> float:
        """Return the loss per held-out frame."""
        chunks = np.array_split(self.holdout, -(-len(self.holdout) // 256))
        return sum(float(self._loss_of(pictures(chunk))) for chunk in chunks) / len(self.holdout)

    @torch.no_grad()
    def encode(self, frames: str, out: str) -> None:
        """Write the posteriors (mu, logvar) (T, Z) of frames (T, H, W, C)."""
        chunks = np.array_split(np.load(frames), 8)
        parts = [self.model.encoder(pictures(chunk)) for chunk in chunks]
        mu, logsigma = (torch.cat(each).numpy() for each in zip(*parts, strict=True))
        np.savez(out, mu=mu, logvar=2 * logsigma)

    def _loss_of(self, batch: torch.Tensor) -> torch.Tensor:
        reconstruction, mu, logsigma = self.model(batch)
        loss: torch.Tensor = self.loss(reconstruction, batch, mu, logsigma)
        return loss


class Memory:
    """Its M: RMSprop on batches of windows, of latents or, as its script does, of frames."""

    def __init__(
        self, train: str, holdout: str, batch: int, window: int, frames: bool, vision: Vision
    ) -> None:
        self.episodes = dict(np.load(train))
        self.batch, self.window, self.frames = batch, window, frames
        self.holdout = {name: torch.from_numpy(part) for name, part in np.load(holdout).items()}
        self.lengths = self.episodes["lengths"]
        self.starts = np.cumsum(self.lengths) - self.lengths
        width = self.episodes["actions"].shape[1]
        self.model = memory_module.MDRNN(LATENT, width, HIDDEN, MIXTURES)
        self.optimizer = torch.optim.RMSprop(self.model.parameters(), lr=1e-3, alpha=0.9)
        names = {"mdrnn": self.model, "gmm_loss": memory_module.gmm_loss, "LSIZE": LATENT}
        sizes = {"SIZE": SIDE, "RED_SIZE": SIDE, "BSIZE": batch, "SEQ_LEN": window}
        names |= {"f": functional, "torch": torch, "vae": vision.model, **sizes}
        self.losses = function_of("trainmdrnn.py", "get_loss", names)
        self.to_latent = function_of("trainmdrnn.py", "to_latent", names)
        self.rng = np.random.default_rng(0)

    def batches(self, steps: int) -> list[Any]:
        """Return (z or frames, the next ones, actions, rewards, ends) of random windows."""
        parts = {name: self.episodes[name] for name in ("actions", "rewards", "done")}
        seen = self.episodes["frames"] if self.frames else self._draw()
        convert = pictures if self.frames else torch.from_numpy
        made = []
        for _ in range(steps):
            rows = self._rows()
            numbers = (torch.from_numpy(part[rows]) for part in parts.values())
            made.append((convert(seen[rows]), convert(seen[rows + 1]), *numbers))
        return made

    def step(self, batch: Any) -> None:
        """Train on one batch."""
        seen, following, action, reward, done = batch
        if self.frames:
            seen, following = self.to_latent(seen, following)
        losses = self.losses(seen, action, reward, done, following, False)
        self.optimizer.zero_grad()
        losses["loss"].backward()
        self.optimizer.step()
        losses["loss"].item()

    @torch.no_grad()
    def held_out(self) -> float:
        """Return the negative log-likelihood of held-out latents, nats per dimension."""
        z, actions, done = (self.holdout[name] for name in ("z", "actions", "done"))
        losses = self.losses(z[:, :-1], actions, done, done, z[:, 1:], False)
        return float(losses["gmm"]) / LATENT

    def _rows(self) -> Any:
        fitting = np.flatnonzero(self.lengths > self.window)
        chosen = self.rng.choice(fitting, self.batch)
        offsets = self.rng.integers(self.lengths[chosen] - self.window)
        return (self.starts[chosen] + offsets)[:, None] + np.arange(self.window)

    def _draw(self) -> Any:
        mu, logvar = self.episodes["mu"], self.episodes["logvar"]
        return mu + np.exp(0.5 * logvar) * self.rng.standard_normal(mu.shape, np.float32)


def timed(model: Vision | Memory, steps: int) -> dict[str, float]:
    """Return the seconds and the CPU seconds of `steps` steps."""
    batches = model.batches(steps)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for batch in batches:
        model.step(batch)
    return {"wall_s": time.perf_counter() - wall_s, "cpu_s": time.process_time() - cpu_s}


def main() -> None:
    """Run the commands."""
    warnings.filterwarnings("ignore", category=UserWarning)  # deprecations of today's torch
    torch.set_num_threads(1)
    torch.manual_seed(0)
    models: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        kind, command, arguments = request["model"], request["command"], request["arguments"]
        result: Any = None
        if command == "make":
            made = Vision if kind == "V" else partial(Memory, vision=models["V"])
            models[kind] = made(**arguments)
        elif command == "train":
            result = timed(models[kind], **arguments)
        else:
            result = getattr(models[kind], command)(**arguments)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
