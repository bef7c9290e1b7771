"""Write an analytic world as a bundle, or make a World that computes it in numpy."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dreamserve.backends.base import Array, State, StepInput, StepOutput
from dreamserve.engine.world import World
from dreamserve_training.evaluation.analytic.base import ZERO_SIGMA_LOGVAR, AnalyticWorld
from dreamserve_training.export import WorldGraphs, write_bundle


def write_world(out_dir: str | Path, world: AnalyticWorld, name: str | None = None) -> Path:
    """Write `world` as a bundle to `out_dir` and return its path; `name` defaults to the folder's.

    The files are compared with the step in numpy. Raises ExportError as `write_bundle` does.
    """
    spec = world.spec(Path(out_dir).name if name is None else name)
    return write_bundle(
        out_dir,
        spec=spec,
        graphs=WorldGraphs(_Encode(world.reach), world.graph().eval(), _Decode(world.reach)),
        reference=NumpyBackend(world),
        bank=world.bank(),
        origin={"environment": f"none: {type(world).__name__}, in closed form"},
        quality={},
    )


def numpy_world(world: AnalyticWorld, name: str = "analytic") -> World:
    """Return `world` as a World for the engine, computed in numpy, without files."""
    return World(world.spec(name), NumpyBackend(world), world.bank())


class NumpyBackend:
    """A backend that computes an analytic world in numpy."""

    name = "numpy"

    def __init__(self, world: AnalyticWorld) -> None:
        self.world, self.reach = world, np.float32(world.reach)

    def encode(self, observations: Array, state: State = ()) -> tuple[Array, ...]:
        """Return the latents that frames (B, 1, Z, 3) show, with zero variance."""
        grey = observations.mean(axis=(1, 3), dtype=np.float32)  # (B, Z)
        mu = (2 * grey - 1) * self.reach
        return mu, np.full_like(mu, ZERO_SIGMA_LOGVAR)

    def decode(self, latent: Array) -> Array:
        """Return frames of latents (B, Z), black at -reach or less and white at reach or more."""
        grey = np.clip((latent / self.reach + 1) / 2, 0, 1)
        return np.repeat(grey[:, None, :, None], 3, axis=3)

    def policy(self, latent: Array, state: State) -> Array:
        """Raise ValueError: analytic worlds have no policy."""
        raise ValueError("an analytic world has no policy")

    def step(self, batch: StepInput) -> StepOutput:
        """Advance every row by one step."""
        return self.world.step(batch)


class _Encode(nn.Module):
    def __init__(self, reach: float) -> None:
        super().__init__()
        self.reach = reach
        self.eval()

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        mu = (2 * frames.mean(dim=(1, 3)) - 1) * self.reach
        return mu, torch.full_like(mu, ZERO_SIGMA_LOGVAR)


class _Decode(nn.Module):
    def __init__(self, reach: float) -> None:
        super().__init__()
        self.reach = reach
        self.eval()

    def forward(self, latent: Tensor) -> Tensor:
        grey = ((latent / self.reach + 1) / 2).clamp(0, 1)
        return grey[:, None, :, None].expand(-1, 1, -1, 3).contiguous()
