"""C: a linear controller on what V sees and M remembers (Ha & Schmidhuber 2018, A.3)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dreamserve_training.files import atomic_write

Float32 = npt.NDArray[np.float32]

CONTROLLER_INPUTS = ("latent", "h")  # what a controller reads, in this order

# On an axis, |tanh| below this stands still.
AXIS_THRESHOLD = 1 / 3


@dataclass(frozen=True)
class LinearPolicy:
    """scores = weights @ features + bias; the action of the largest score is taken.

    `weights` (actions, features) and `bias` (actions,), float32: the form a bundle keeps.
    """

    weights: Float32
    bias: Float32

    def act(self, features: Float32) -> npt.NDArray[np.int64]:
        """Return the actions (B,) for `features` (B, F)."""
        return np.argmax(features @ self.weights.T + self.bias, axis=-1)


@dataclass(frozen=True)
class Axis:
    """Two opposed actions and standing still, steered by one number u = tanh(w · x + b).

    It has a third of the parameters of a score for each of three actions, so evolution is faster.
    tanh is monotonic, so its threshold is applied to w · x + b instead.
    """

    actions: int
    still: int
    positive: int
    negative: int

    def parameters(self, features: int) -> int:
        """Return how many numbers a candidate has."""
        return features + 1

    def policy(self, candidate: npt.NDArray[np.float64]) -> LinearPolicy:
        """Return the policy that `candidate` (features + 1,) stands for."""
        weights = np.zeros((self.actions, len(candidate) - 1), np.float32)
        bias = np.full(self.actions, -1e9, np.float32)  # actions off the axis are never taken
        push = np.arctanh(AXIS_THRESHOLD)
        weights[self.positive], weights[self.negative] = candidate[:-1], -candidate[:-1]
        bias[self.still] = 0.0
        bias[self.positive], bias[self.negative] = candidate[-1] - push, -candidate[-1] - push
        return LinearPolicy(weights, bias)


@dataclass(frozen=True)
class Scores:
    """A score for every action: the general form."""

    actions: int

    def parameters(self, features: int) -> int:
        """Return how many numbers a candidate has."""
        return self.actions * (features + 1)

    def policy(self, candidate: npt.NDArray[np.float64]) -> LinearPolicy:
        """Return the policy that `candidate` (actions · (features + 1),) stands for."""
        table = candidate.reshape(self.actions, -1).astype(np.float32)
        return LinearPolicy(table[:, :-1].copy(), table[:, -1].copy())


def save_policy(policy: LinearPolicy, path: Path) -> None:
    """Write `policy` to `path` (.npz), whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        np.savez(file, weights=policy.weights, bias=policy.bias)


def load_policy(path: Path) -> LinearPolicy:
    """Read a policy that `save_policy` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        return LinearPolicy(archive["weights"], archive["bias"])
