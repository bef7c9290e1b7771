"""C: a policy on V's latent and M's recurrent tensors (Ha & Schmidhuber 2018, A.3).

It is linear, as in the paper, or a small network; both are layers with tanh between them.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from dreamserve_training.files import atomic_write, write_arrays

Float32 = npt.NDArray[np.float32]

CONTROLLER_INPUTS = ("latent", "h")  # features of evolved controllers, in this order

# `Axis` takes the action `still` while |u| is below this.
AXIS_THRESHOLD = 1 / 3


class ControllerError(ValueError):
    """A file that does not hold a controller; the message names it."""


@runtime_checkable
class Policy(Protocol):
    """Gives scores to actions; `dreamserve.spaces` says which action they mean.

    The features (B, F) are the latent and recurrent tensors that `inputs` names, in this order:
    see `features_of`.
    """

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that it sees."""

    def scores(self, features: Float32) -> Float32:
        """Return the scores (B, width) for `features` (B, F)."""


def features_of(tensors: Mapping[str, Float32], inputs: Sequence[str]) -> Float32:
    """Return a policy's features (B, F) of named tensors (B, …)."""
    parts = [tensors[name].reshape(len(tensors[name]), -1) for name in inputs]
    return np.concatenate(parts, axis=1)


class Layer(NamedTuple):
    """A linear layer, float32."""

    weights: Float32  # (outputs, inputs)
    bias: Float32  # (outputs,)

    def __call__(self, values: Float32) -> Float32:
        """Return the outputs (B, outputs) of `values` (B, inputs)."""
        return values @ self.weights.T + self.bias

    def rounded(self) -> "Layer":
        """Return the layer with numbers that float16 holds exactly."""
        return Layer(*(part.astype(np.float16).astype(np.float32) for part in self))


class LayeredPolicy(ABC):
    """A policy of layers, which can be trained, saved and exported."""

    inputs: tuple[str, ...]

    @property
    @abstractmethod
    def layers(self) -> tuple[Layer, ...]:
        """The layers in order; the last one gives the scores."""

    def scores(self, features: Float32) -> Float32:
        """Return the scores (B, width) for `features` (B, F)."""
        *hidden, last = self.layers
        for layer in hidden:
            features = np.tanh(layer(features))
        return last(features)

    def digest(self) -> str:
        """Return a sha256 of the policy, in hex."""
        parts = [part.tobytes() for layer in self.layers for part in layer]
        return hashlib.sha256(b"".join([*parts, repr(self.inputs).encode()])).hexdigest()


@dataclass(frozen=True)
class LinearPolicy(LayeredPolicy):
    """Scores = weights @ features + bias.

    `weights` (scores, features) and `bias` (scores,) are float32, as in a bundle.
    """

    weights: Float32
    bias: Float32
    inputs: tuple[str, ...] = CONTROLLER_INPUTS

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The one layer."""
        return (Layer(self.weights, self.bias),)


@dataclass(frozen=True)
class NetworkPolicy(LayeredPolicy):
    """Scores = last(tanh(hidden(features))); a bundle holds it as its policy graph."""

    hidden: Layer
    last: Layer
    inputs: tuple[str, ...] = CONTROLLER_INPUTS

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Both layers."""
        return self.hidden, self.last


def policy_of(layers: Sequence[Layer], inputs: tuple[str, ...]) -> LayeredPolicy:
    """Return the policy of one or two layers.

    Two are rounded to float16, as a bundle's graph stores them: what is judged is what is served.
    """
    if len(layers) == 1:
        return LinearPolicy(*layers[0], inputs)
    hidden, last = layers
    return NetworkPolicy(hidden.rounded(), last.rounded(), inputs)


@dataclass(frozen=True)
class Axis:
    """Chooses one of two opposed actions, or `still`, by one number u = tanh(w · x + b).

    It has a third of the parameters of `Scores` with three actions, so evolution is faster. tanh
    is monotonic, so the threshold is applied to w · x + b instead.
    """

    actions: int
    still: int
    positive: int
    negative: int

    def __post_init__(self) -> None:
        chosen = {self.still, self.positive, self.negative}
        if len(chosen) < 3 or not chosen <= set(range(self.actions)):
            raise ValueError(
                f"Axis: still, positive and negative are three different actions, 0 to"
                f" {self.actions - 1}, not {self.still}, {self.positive} and {self.negative}"
            )

    def parameters(self, features: int) -> int:
        """Return the number of parameters, given the number of features."""
        return features + 1

    def policy(self, candidate: npt.NDArray[np.float64]) -> LinearPolicy:
        """Return the policy of the parameters `candidate` (features + 1,)."""
        weights = np.zeros((self.actions, len(candidate) - 1), np.float32)
        bias = np.full(self.actions, -1e9, np.float32)  # other actions are never taken
        t = np.arctanh(AXIS_THRESHOLD)
        weights[self.positive], weights[self.negative] = candidate[:-1], -candidate[:-1]
        bias[self.still] = 0.0
        bias[self.positive], bias[self.negative] = candidate[-1] - t, -candidate[-1] - t
        return LinearPolicy(weights, bias)


@dataclass(frozen=True)
class Scores:
    """One linear score per action, or per component of one; works for any action space."""

    actions: int  # scores: the action space's `width`

    def parameters(self, features: int) -> int:
        """Return the number of parameters, given the number of features."""
        return self.actions * (features + 1)

    def policy(self, candidate: npt.NDArray[np.float64]) -> LinearPolicy:
        """Return the policy of the parameters `candidate` (actions · (features + 1),)."""
        table = candidate.reshape(self.actions, -1).astype(np.float32)
        return LinearPolicy(table[:, :-1].copy(), table[:, -1].copy())


# Names of each layer's arrays in a file; a linear policy's has the last ones only.
_ARRAYS = (("hidden_weights", "hidden_bias"), ("weights", "bias"))


def save_policy(policy: LayeredPolicy, path: Path) -> None:
    """Write `policy` to `path` (.npz), atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, npt.NDArray[Any]] = {"inputs": np.array(policy.inputs)}
    for names, layer in zip(_ARRAYS[-len(policy.layers) :], policy.layers, strict=True):
        arrays |= dict(zip(names, layer, strict=True))
    with atomic_write(path) as file:
        write_arrays(file, arrays)


def load_policy(path: Path) -> LayeredPolicy:
    """Return the policy that `save_policy` wrote to `path`; ControllerError for another file."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            inputs = archive["inputs"].tolist() if "inputs" in archive else CONTROLLER_INPUTS
            layers = [Layer(archive[w], archive[b]) for w, b in _ARRAYS if w in archive]
        return policy_of(layers, tuple(inputs))
    except (ValueError, LookupError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        raise ControllerError(f"{path}: not a controller ({error})") from error
