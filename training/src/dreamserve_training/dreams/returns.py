"""Returns of many controllers in many dreams, computed in one batch."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import State
from dreamserve.engine.dynamics import empty_state
from dreamserve.engine.pixels import to_numbers
from dreamserve.engine.world import World
from dreamserve.loading import load_world
from dreamserve.local import DreamBatch, LocalClient
from dreamserve_protocol.policies import LinearPolicy
from dreamserve_training.env_values import Observed
from dreamserve_training.models import controller
from dreamserve_training.models.controller import CONTROLLER_INPUTS, features_of

Float32 = npt.NDArray[np.float32]
JUDGING_DREAMS = 2**52  # dreams that judge C have seeds from here on, and none of its evolution


@lru_cache(maxsize=1)
def worker_world(bundle: Path) -> World:
    """Return the world of `bundle`, loaded once per process, on one thread of the CPU."""
    return load_world(bundle, "onnx", threads=1)


def latent_of(world: World, observation: Observed, state: State | None = None) -> Float32:
    """Return the latent (1, Z) that one real observation stands for.

    With `encode_memory` it is encoded with the recurrent tensors `state` (1, *shape) each, of the
    dream that it corrects; None: at a start, which has zeros.
    """
    seen, given = to_numbers(world.spec.observation, observation[None]), State()
    if world.spec.encode_memory:
        given = empty_state(world, 1) if state is None else state
    return world.spec.head.mode(world.backend.encode(seen, given))


def features(dreams: DreamBatch, inputs: Sequence[str] = CONTROLLER_INPUTS) -> Float32:
    """Return a controller's features of B dreams, (B, F) float32; by default [z, h]."""
    return features_of({"latent": dreams.latent, **dreams.state}, inputs)


def dream_returns(
    world: World,
    policies: Sequence[controller.LinearPolicy],
    seeds: Sequence[int],
    temperature: float,
    max_steps: int,
) -> tuple[Float32, npt.NDArray[np.int64]]:
    """Return the returns and lengths (P, E) of P policies in E dreams, one per seed.

    All policies have the same inputs. They use the same seeds (common random numbers), which
    reduces the variance of their differences. A dream that becomes NaN or infinite ends at its
    last finite step.
    """
    linear = LinearPolicy(
        np.stack([policy.weights for policy in policies]),
        np.stack([policy.bias for policy in policies]),
        policies[0].inputs,
    )
    # all rows in one slice: no other request waits, and large batches are faster
    dream = LocalClient(world, capacity=1, slice_rows=len(policies) * len(seeds))
    result = dream.rollout(
        policy=linear, seeds=np.asarray(seeds), temperature=temperature, max_steps=max_steps
    )
    return result.returns.astype(np.float32), result.lengths
