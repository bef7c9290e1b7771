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
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_training.dreams.returns import worker_world
from dreamserve_training.models.controller import Float32, LinearPolicy, Policy, features_of

_TRIED = 2  # dreams that a policy is tried on


class _Played:
    """A world's backend with a policy of this process."""

    def __init__(self, spec: WorldSpec, backend: Backend, policy: Policy) -> None:
        self.name, self._spec, self._policy = backend.name, spec, policy
        self.encode, self.step, self.decode = backend.encode, backend.step, backend.decode

    def policy(self, latent: Array, state: State) -> Array:
        tensors = {"latent": latent, **self._spec.named_state(state)}
        scores = self._policy.scores(features_of(tensors, self._policy.inputs))
        _check_width(self._spec, scores, len(latent))  # others mean actions that do not exist
        return scores


def world_with(world: World, policy: Policy) -> World:
    """Return the world with `policy` in place of the one that it may have.

    The policy is tried. Raises InvalidRequestError for one that sees other tensors than the
    world's, that fails on them, or that gives other scores than (B, width of the action space).
    """
    spec = world.spec.model_copy(update={"has_policy": True})
    played = _Played(spec, world.backend, policy)
    _try(spec, played, policy.inputs)
    return World(spec, played, world.bank, ages=world.ages)


def _try(spec: WorldSpec, played: _Played, inputs: Sequence[str]) -> None:
    sizes = spec.tensor_sizes()
    if unknown := sorted(set(inputs) - sizes.keys()):
        raise InvalidRequestError(f"the policy sees {unknown}; the world has {list(sizes)}")
    latent = np.zeros((_TRIED, spec.latent_size), np.float32)
    state = tuple(np.zeros((_TRIED, *part.shape), np.float32) for part in spec.recurrent_state)
    try:
        played.policy(latent, state)
    except InvalidRequestError:
        raise
    except Exception as error:  # whatever a user's network raises
        seen = ", ".join(f"{name} ({sizes[name]})" for name in inputs)
        told = f"{type(error).__name__}: {error}"
        raise InvalidRequestError(f"the policy fails on features of {seen}: {told}") from error


def _check_width(spec: WorldSpec, scores: Array, rows: int) -> None:
    space = spec.action_space
    if np.ndim(scores) != 2 or len(scores) != rows:
        raise InvalidRequestError(
            f"the policy gives scores {np.shape(scores)} for {rows} dreams; it must give"
            f" {(rows, space.width)}"
        )
    if scores.shape[1] != space.width:
        raise InvalidRequestError(
            f"the policy gives {scores.shape[1]} scores; the world takes {space.width}, for {space}"
        )


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
