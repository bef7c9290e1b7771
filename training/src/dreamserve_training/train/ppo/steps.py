"""A world's step on tensors, where the world computes: on a CUDA device without copies."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dreamserve.backends.base import StepInput, head_arrays
from dreamserve.backends.torch import TorchBackend
from dreamserve.engine.world import World
from dreamserve.manifest import WorldSpec

# (latent, action, *state, temperature, noise) → the step's outputs in the manifest's order
Step = Callable[..., tuple[Tensor, ...]]


class TensorOutput(NamedTuple):
    """A step's outputs on the world's device, without the head's parameters."""

    latent: Tensor  # (N, Z)
    reward: Tensor  # (N,)
    done_logit: Tensor  # (N,)
    state: tuple[Tensor, ...]  # (N, *shape) each
    signals: tuple[Tensor, ...]  # (N,) each


def output_of(spec: WorldSpec, tensors: Sequence[Tensor]) -> TensorOutput:
    """Return the outputs of a world's step, which are in the manifest's order."""
    latent, reward, done_logit, *rest = tensors
    states = len(spec.recurrent_state)
    signals = rest[states + head_arrays(spec) :]
    return TensorOutput(latent, reward, done_logit, tuple(rest[:states]), tuple(signals))


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
