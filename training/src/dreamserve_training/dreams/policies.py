"""Any policy as that of a world, and a bundle's policy as any other one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import Array, Backend, State
from dreamserve.bundle import load_bundle
from dreamserve.engine.world import World
from dreamserve.local import LocalClient
from dreamserve.manifest import WorldSpec
from dreamserve_training.dreams.returns import worker_world
from dreamserve_training.models.controller import Float32, LinearPolicy, Policy, features_of


class _Played:
    """A world's backend with a policy of this process."""

    def __init__(self, spec: WorldSpec, backend: Backend, policy: Policy) -> None:
        self.name, self._spec, self._policy = backend.name, spec, policy
        self.encode, self.step, self.decode = backend.encode, backend.step, backend.decode

    def policy(self, latent: Array, state: State) -> Array:
        tensors = {"latent": latent, **self._spec.named_state(state)}
        return self._policy.scores(features_of(tensors, self._policy.inputs))


def world_with(world: World, policy: Policy) -> World:
    """Return the world with `policy` in place of the one that it may have."""
    spec = world.spec.model_copy(update={"has_policy": True})
    return World(spec, _Played(spec, world.backend, policy), world.bank, ages=world.ages)


@dataclass(frozen=True)
class GraphPolicy:
    """The policy graph of a bundle, which each process loads for itself."""

    bundle: Path
    inputs: tuple[str, ...]  # all tensors that a graph takes

    def scores(self, features: Float32) -> Float32:
        """Return the scores (B, width) for `features` (B, F)."""
        world = worker_world(self.bundle)
        sizes = world.spec.tensor_sizes()
        shapes = world.spec.graph_inputs()["policy"]
        parts = np.split(features, np.cumsum([sizes[name] for name in self.inputs])[:-1], axis=1)
        latent, *state = (
            np.ascontiguousarray(part).reshape(len(part), *shapes[name])
            for name, part in zip(self.inputs, parts, strict=True)
        )
        return world.backend.policy(latent, tuple(state))


def bundled_policy(folder: Path) -> Policy | None:
    """Return the policy of the bundle in `folder`, linear or a graph; None if it has none."""
    bundle = load_bundle(folder)
    spec, arrays = bundle.manifest.controller, bundle.controller
    if bundle.manifest.has_policy:
        return GraphPolicy(folder.resolve(), tuple(bundle.manifest.graph_inputs()["policy"]))
    if spec is None or arrays is None:
        return None
    return LinearPolicy(arrays["weights"], arrays["bias"], spec.inputs)


def policy_returns(
    world: World, policy: Policy, seeds: Sequence[int], temperature: float, max_steps: int
) -> tuple[Float32, npt.NDArray[np.int64]]:
    """Return the returns and lengths (E,) of a policy in E dreams, one per seed.

    A dream that becomes NaN or infinite ends at its last finite step.
    """
    dream = LocalClient(world_with(world, policy), capacity=1, slice_rows=len(seeds))
    result = dream.rollout(
        policy="bundled", seeds=np.asarray(seeds), temperature=temperature, max_steps=max_steps
    )
    return result.returns[0].astype(np.float32), result.lengths[0]
