"""Policy runners: choose the actions of B dreams, each with one of P policies.

A row's actions depend on that row only, bit for bit. So they use no BLAS, which chooses kernels by
the number of rows: einsum sums each row's products in a fixed order.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve import noise
from dreamserve.backends.base import Actions, Array, Bools, Int64
from dreamserve.engine.imagination.trajectories import PolicyRunner, Trajectories
from dreamserve.engine.world import World
from dreamserve.manifest import WorldSpec
from dreamserve.spaces import ActionSpace
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.policies import AnyPolicy, ConstantPolicy, LinearPolicy, RandomPolicy


def runner_of(world: World, policy: AnyPolicy, rows: int) -> PolicyRunner:
    """Return a runner for `rows` rows, which use the first policy until another is assigned.

    Raises InvalidRequestError, InvalidActionError and NotFiniteInputError.
    """
    space = world.spec.action_space
    match policy:
        case RandomPolicy():
            return _Random(space)
        case ConstantPolicy(action):
            return _Constant(space.check(action))
        case LinearPolicy():
            return _Linear(world.spec, policy, rows)
    return _Graph(world) if world.spec.has_policy else _Linear(world.spec, _bundled(world), rows)


def linear_scores(features: Array, weights: Array, bias: Array) -> Array:
    """Return scores (B, A) of features (B, F), weights (B, A, F), bias (B, A), all float32."""
    scores: Array = np.einsum("bf,baf->ba", features, weights) + bias
    return scores


class _SamePolicy:
    """A runner without state, with the same policy for all rows."""

    def assign(self, rows: slice | Int64, policy: Int64) -> None:
        pass

    def keep(self, rows: Bools) -> None:
        pass


class _Random(_SamePolicy):
    def __init__(self, space: ActionSpace) -> None:
        self._space = space

    def act(self, futures: Trajectories) -> tuple[Actions, Bools]:
        keys = noise.keys(futures.seed, futures.step + 1, noise.ACTION)
        space = self._space
        uniforms = noise.draw(keys, 0, space.uniforms).reshape(-1, *space.shape)
        actions, rows = space.uniform(uniforms), len(futures)
        if len(actions) < rows:  # all rows share their noise
            actions = actions.repeat(rows, axis=0)
        return actions, np.ones(rows, np.bool_)


class _Constant(_SamePolicy):
    def __init__(self, action: int | Actions) -> None:
        self._action = np.asarray(action)

    def act(self, futures: Trajectories) -> tuple[Actions, Bools]:
        rows = len(futures)
        actions = np.broadcast_to(self._action, (rows, *self._action.shape))
        return actions, np.ones(rows, np.bool_)


class _Graph(_SamePolicy):
    """The policy graph of the bundle."""

    def __init__(self, world: World) -> None:
        self._space, self._policy = world.spec.action_space, world.backend.policy

    def act(self, futures: Trajectories) -> tuple[Actions, Bools]:
        scores = self._policy(futures.latent, futures.state)
        is_finite: Bools = np.logical_and.reduce(~np.isnan(scores), axis=1)
        return self._space.from_scores(scores, is_finite), is_finite


class _Linear:
    """Stores a copy of its policy's weights for each row: they are used far more than changed."""

    def __init__(self, spec: WorldSpec, policy: LinearPolicy, rows: int) -> None:
        self._space = spec.action_space
        self._names = ("latent", *(tensor.name for tensor in spec.recurrent_state))
        self._inputs = _known_inputs(policy, self._names)
        self._policy_weights, self._policy_bias = _checked(spec, policy, self._inputs)
        first = np.zeros(rows, np.int64)
        self._weights, self._bias = self._policy_weights[first], self._policy_bias[first]

    def assign(self, rows: slice | Int64, policy: Int64) -> None:
        if len(self._policy_weights) > 1:
            self._weights[rows] = self._policy_weights[policy]
            self._bias[rows] = self._policy_bias[policy]

    def keep(self, rows: Bools) -> None:
        self._weights, self._bias = self._weights[rows], self._bias[rows]

    def act(self, futures: Trajectories) -> tuple[Actions, Bools]:
        rows = len(futures)
        tensors = dict(zip(self._names, (futures.latent, *futures.state), strict=True))
        parts = [tensors[name].reshape(rows, -1) for name in self._inputs]
        features = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        with np.errstate(over="ignore", invalid="ignore"):  # reported by `is_finite`
            scores = linear_scores(features, self._weights[:rows], self._bias[:rows])
        is_finite: Bools = np.logical_and.reduce(~np.isnan(scores), axis=1)
        return self._space.from_scores(scores, is_finite), is_finite


def _bundled(world: World) -> LinearPolicy:
    if world.controller is None:
        raise InvalidRequestError(f"{world.name} has no bundled controller; give another policy")
    spec = world.manifest and world.manifest.controller
    inputs = spec.inputs if spec else None
    return LinearPolicy(world.controller["weights"], world.controller["bias"], inputs)


def _known_inputs(policy: LinearPolicy, names: tuple[str, ...]) -> tuple[str, ...]:
    inputs = names if policy.inputs is None else tuple(policy.inputs)
    if not inputs or not set(inputs) <= set(names):
        raise InvalidRequestError(f"inputs must be some of {list(names)}, not {list(inputs)}")
    return inputs


def _checked(spec: WorldSpec, policy: LinearPolicy, inputs: tuple[str, ...]) -> tuple[Array, Array]:
    """Return weights (P, A, F) and bias (P, A). NaN is allowed: it fails its own policy only."""
    sizes = spec.tensor_sizes()
    expected = (spec.action_space.width, sum(sizes[name] for name in inputs))
    weights = _floats("weights", policy.weights)
    if weights.shape == expected:
        weights = weights[None]
    if weights.ndim != 3 or weights.shape[1:] != expected or not len(weights):
        raise InvalidRequestError(
            f"weights must be {list(expected)}, or many of them, for the inputs {list(inputs)},"
            f" not {list(np.shape(policy.weights))}"
        )
    if policy.bias is None:
        return weights, np.zeros(weights.shape[:2], np.float32)
    bias, expected = _floats("bias", policy.bias), np.shape(policy.weights)[:-1]
    if bias.shape != expected:
        raise InvalidRequestError(f"bias must be {list(expected)}, not {list(bias.shape)}")
    return weights, bias.reshape(weights.shape[:2])


def _floats(name: str, given: npt.ArrayLike) -> Array:
    array: npt.NDArray[Any] = np.asarray(given)
    if array.dtype.kind not in "fiu":
        raise InvalidRequestError(f"{name} must be numbers, not {array.dtype}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, np.float32)
