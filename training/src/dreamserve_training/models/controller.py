"""C: a linear controller on V's latent and M's hidden state (Ha & Schmidhuber 2018, A.3)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dreamserve_training.files import atomic_write

Float32 = npt.NDArray[np.float32]

CONTROLLER_INPUTS = ("latent", "h")  # features of evolved controllers, in this order

# `Axis` takes the action `still` while |u| is below this.
AXIS_THRESHOLD = 1 / 3


@dataclass(frozen=True)
class LinearPolicy:
    """Scores = weights @ features + bias; `dreamserve.spaces` says which action they mean.

    `weights` (scores, features) and `bias` (scores,) are float32, as in a bundle. The features are
    the latent and recurrent tensors that `inputs` names, in this order.
    """

    weights: Float32
    bias: Float32
    inputs: tuple[str, ...] = CONTROLLER_INPUTS

    def scores(self, features: Float32) -> Float32:
        """Return the scores (B, width) for `features` (B, F)."""
        return features @ self.weights.T + self.bias

    def digest(self) -> str:
        """Return a sha256 of the policy, in hex."""
        content = (*(part.tobytes() for part in (self.weights, self.bias)), repr(self.inputs))
        parts = (part if isinstance(part, bytes) else part.encode() for part in content)
        return hashlib.sha256(b"".join(parts)).hexdigest()


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


def save_policy(policy: LinearPolicy, path: Path) -> None:
    """Write `policy` to `path` (.npz), atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        np.savez(file, weights=policy.weights, bias=policy.bias, inputs=np.array(policy.inputs))


def load_policy(path: Path) -> LinearPolicy:
    """Return the policy that `save_policy` wrote to `path`."""
    with np.load(path, allow_pickle=False) as archive:
        inputs = archive["inputs"].tolist() if "inputs" in archive else CONTROLLER_INPUTS
        return LinearPolicy(archive["weights"], archive["bias"], tuple(inputs))
