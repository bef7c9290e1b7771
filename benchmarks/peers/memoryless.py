"""A world without recurrent state in torch, and the planners that are run in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Plan = Callable[[Tensor], Tensor]  # from a latent (Z,) to actions (H, A)


class Variant(NamedTuple):
    """A planner with one choice of settings; `make` returns one without an earlier plan."""

    library: str
    planner: str
    name: str
    make: Callable[[], Plan]


class World:
    """A bundle's step in torch, and the starts (N, Z) of plans; counts evaluated sequences."""

    def __init__(self, bundle: Path) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text())
        self.low, self.high = (manifest["action_space"][side] for side in ("low", "high"))
        self.normal: int = manifest["noise"]["normal"]
        self.graph = torch.jit.load(str(bundle / "step.pt")).float().eval()
        with np.load(bundle / "bank.npz") as bank:
            self.starts = torch.from_numpy(bank["mu"]).float()
        self.evaluations = 0

    def step(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Advance B dreams, (B, Z), by actions (B, A); return their latents and rewards (B,)."""
        count = len(action)
        latent, reward, *_ = self.graph(
            latent, action, torch.zeros(count), torch.zeros(count, self.normal)
        )
        return latent, reward

    def returns(self, start: Tensor, actions: Tensor) -> Tensor:
        """Return the value (B,) of each of B sequences, (B, H, A)."""
        self.evaluations += len(actions)
        latent, total = start.expand(len(actions), -1), torch.zeros(len(actions))
        for depth in range(actions.shape[1]):
            latent, reward = self.step(latent, actions[:, depth])
            total += reward
        return total
