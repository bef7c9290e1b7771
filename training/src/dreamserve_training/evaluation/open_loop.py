"""Open-loop dreams: a batch of rollouts under given actions, without observations."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import Array, Backend, StepInput, StepOutput
from dreamserve.manifest import WorldSpec
from dreamserve.noise import UNIFORMS
from dreamserve_training.evaluation.teacher_forcing import State


def open_loop(
    backend: Backend,
    spec: WorldSpec,
    latent: Array,
    state: State,
    actions: npt.NDArray[np.int64] | Array,
    temperature: float,
    rng: np.random.Generator,
) -> Array:
    """Return the latents (B, H, Z) that `open_loop_steps` dreams."""
    steps = open_loop_steps(backend, spec, latent, state, actions, temperature, rng)
    return np.stack([output.latent for output in steps], axis=1)


def open_loop_steps(
    backend: Backend,
    spec: WorldSpec,
    latent: Array,
    state: State,
    actions: npt.NDArray[np.int64] | Array,
    temperature: float,
    rng: np.random.Generator,
) -> Iterator[StepOutput]:
    """Dream from `latent` (B, Z) and `state` under `actions` (B, H, …); yield the H outputs.

    Predicted ends are ignored.
    """
    rows = len(latent)
    for step in range(actions.shape[1]):
        normal = rng.standard_normal((rows, spec.noise.normal), np.float32)
        uniform = rng.uniform(*UNIFORMS, (rows, spec.noise.uniform)).astype(np.float32)
        output = backend.step(
            StepInput(
                latent=np.ascontiguousarray(latent),
                action=actions[:, step].copy(),  # contiguous
                state=state,
                temperature=np.full(rows, temperature, np.float32),
                noise=np.concatenate([normal, uniform], axis=1),
            )
        )
        latent, state = output.latent, output.state
        yield output
