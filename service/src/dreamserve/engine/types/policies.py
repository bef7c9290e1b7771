"""Policies as data: who acts in dreams that nobody steps by hand. `ahead.actors` lets them act."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class RandomPolicy:
    """Uniformly over the action space; a pure function of a dream's seed and step."""


@dataclass(frozen=True, slots=True, eq=False)
class ConstantPolicy:
    """The same action at every step."""

    action: Any  # int, or (A,) floats


@dataclass(frozen=True, slots=True, eq=False)
class LinearPolicy:
    """scores = weights @ features + bias, the form of a bundle's controller; or P of them.

    The features are the tensors that `inputs` names, one after the other: `latent` and recurrent
    tensors. A Discrete world takes the action of the largest score, the first of equals. In a Box
    the action is low + (tanh(score) + 1) / 2 · (high - low), as Ha & Schmidhuber (2018) bring
    theirs between bounds.
    """

    weights: npt.NDArray[Any]  # (A, F), or (P, A, F); A scores, one an action or a component
    bias: npt.NDArray[Any] | None = None  # (A,), or (P, A); None: zeros
    inputs: tuple[str, ...] | None = None  # None: the latent, then all recurrent tensors


@dataclass(frozen=True, slots=True)
class BundledPolicy:
    """The controller that the world's bundle brings along."""


Policy = RandomPolicy | ConstantPolicy | LinearPolicy | BundledPolicy


def policy_count(policy: Policy) -> int:
    """Return P: how many policies these are."""
    if isinstance(policy, LinearPolicy):
        shape = np.shape(policy.weights)
        return shape[0] if len(shape) == 3 else 1
    return 1


def check_single(policy: Policy) -> Policy:
    """Return the policy. Raises InvalidRequestError for many of them."""
    if (count := policy_count(policy)) != 1:
        raise InvalidRequestError(f"one policy acts here, not {count}; POST /rollout takes many")
    return policy
