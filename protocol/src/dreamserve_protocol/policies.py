"""Policies of /rollout and /sample.

The engine checks what depends on the world: its actions, and the tensors that a policy reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from dreamserve_protocol.arrays import Array
from dreamserve_protocol.common import OF_ACTION, Numbers, OneAction
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.markers import ByKind, Doc, Items, Message, Text

_KIND = Doc("Kind of policy.")


@dataclass(frozen=True, slots=True)
class RandomPolicy(Message):
    """Act uniformly at random; the action is a function of the dream's seed and step."""

    kind: Annotated[Literal["random"], _KIND] = "random"


@dataclass(frozen=True, slots=True, eq=False)
class ConstantPolicy(Message):
    """Take the same action at every step."""

    action: Annotated[
        OneAction,
        Doc(OF_ACTION),
    ]
    kind: Annotated[Literal["constant"], _KIND] = "constant"


@dataclass(frozen=True, slots=True, eq=False)
class LinearPolicy(Message):
    """Act by scores = weights @ features + bias: one policy, or P with the same episode seeds.

    A Discrete world takes the action with the largest score, the first of equal scores; a
    MultiDiscrete world does so for each component, whose scores follow those of the one before. A
    MultiBinary component is 1 if its score is above 0. A Box world takes
    low + (tanh(score) + 1) / 2 · (high - low), as in Ha & Schmidhuber (2018). A policy that holds
    NaN invalidates its own episodes only.
    """

    weights: Annotated[
        Numbers,
        Array("float32 A F", "float32 P A F", finite=False),
        Doc(
            "A row for each score: a Discrete world's actions, the choices of a MultiDiscrete"
            " world's components, or the components of a Box or MultiBinary world."
        ),
    ]
    bias: Annotated[
        Annotated[Numbers, Array("float32 A", "float32 P A", finite=False)] | None,
        Doc("Default: 0."),
    ] = None
    inputs: Annotated[
        Annotated[Sequence[Annotated[str, Text(128)]], Items(1)] | None,
        Doc(
            "Names of the tensors that are concatenated to the F features: `latent` and recurrent"
            " tensors. Default: the latent, then all recurrent tensors."
        ),
    ] = None
    kind: Annotated[Literal["linear"], _KIND] = "linear"

    def __post_init__(self) -> None:
        if self.bias is None:
            return
        expected, shape = np.shape(self.weights)[:-1], np.shape(self.bias)
        if shape != expected:
            raise InvalidRequestError(
                f"these weights need a bias of shape {list(expected)}, not {list(shape)}"
            )


@dataclass(frozen=True, slots=True)
class BundledPolicy(Message):
    """Act by the controller in the world's bundle."""

    kind: Annotated[Literal["bundled"], _KIND] = "bundled"


AnyPolicy = RandomPolicy | ConstantPolicy | LinearPolicy | BundledPolicy
Policy = Annotated[AnyPolicy | Literal["random", "bundled"], ByKind(("random", "bundled"))]


_BY_NAME: dict[str, AnyPolicy] = {"random": RandomPolicy(), "bundled": BundledPolicy()}


def policy_of(policy: AnyPolicy | str) -> AnyPolicy:
    """Return the policy; a string is the short name of one."""
    return _BY_NAME[policy] if isinstance(policy, str) else policy


def policy_count(policy: AnyPolicy) -> int:
    """Return P, the number of policies."""
    if isinstance(policy, LinearPolicy):
        shape = np.shape(policy.weights)
        return shape[0] if len(shape) == 3 else 1
    return 1


def check_single(policy: AnyPolicy | str | None) -> None:
    """Raise InvalidRequestError for more than one policy."""
    if isinstance(policy, LinearPolicy) and (count := policy_count(policy)) != 1:
        raise InvalidRequestError(f"give a single policy, not {count}; /rollout takes many")
