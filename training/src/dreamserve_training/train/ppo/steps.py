"""A world's step on tensors, where the world computes: on a CUDA device without copies."""

from collections.abc import Callable

import torch
from torch import Tensor

from dreamserve.backends.base import StepInput
from dreamserve.backends.torch import TorchBackend
from dreamserve.engine.world import World

# (latent, action, *state, temperature, noise) → the step's outputs in the manifest's order
Step = Callable[..., tuple[Tensor, ...]]


def tensor_step(world: World) -> tuple[Step, torch.device]:
    """Return the step of a world's backend on tensors, and the device that these must be on."""
    backend = world.backend
    if isinstance(backend, TorchBackend):
        return backend.step_tensors, backend.device

    def step(latent: Tensor, action: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        first, taken, *state, temperature, noise = (
            part.numpy()
            for part in (latent, action, *rest)  # shared memory, not copies
        )
        output = backend.step(StepInput(first, taken, tuple(state), temperature, noise))
        return tuple(map(torch.from_numpy, output.arrays()))

    return step, torch.device("cpu")
