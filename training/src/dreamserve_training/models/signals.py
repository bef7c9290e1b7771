"""Signals of M: numbers that it predicts beside the reward and the end, a head for each."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from dreamserve.manifest import SignalSpec
from dreamserve_training.models.terms import Term, masked


@dataclass(frozen=True)
class SignalHead:
    """What a head predicts: the probability of an event, or a level.

    The head's output is a logit, trained with the weight `positive` of the event, or the level in
    units of `scale`.
    """

    kind: Literal["event", "level"]
    description: str
    positive: float = 1.0
    scale: float = 1.0

    def shown(self, output: Tensor) -> Tensor:
        """Return what the world says, for a head's output (…): a probability, or the level."""
        if self.kind == "event":
            return _sigmoid(output - log(self.positive))
        return output * self.scale

    def loss(self, output: Tensor, target: Tensor, mask: Tensor, weight: float = 1.0) -> Term:
        """Return the term of outputs (…) where `mask` is true and the target known."""
        is_known = mask & ~torch.isnan(target)
        wanted = torch.where(is_known, target, 0.0)
        if self.kind == "event":
            positive = torch.tensor(self.positive, device=output.device)
            error = functional.binary_cross_entropy_with_logits(
                output.float(), wanted, pos_weight=positive, reduction="none"
            )
        else:
            error = (output.float() - wanted / self.scale).square()
        return masked(error, is_known, weight)


def _sigmoid(logit: Tensor) -> Tensor:
    """Return sigmoid(logit) (…), whose last bits do not depend on a row's place in its batch.

    Kernels compute whole vectors of the CPU in one way and the rest of an array in another.
    """
    whole = logit.unsqueeze(-1).expand(*logit.shape, _VECTOR).contiguous()
    return torch.sigmoid(whole)[..., 0]


_VECTOR = 16  # float32 numbers in the widest vector
Heads = Mapping[str, SignalHead]


def as_heads(signals: Mapping[str, SignalHead | Mapping[str, Any]] | None) -> dict[str, SignalHead]:
    """Return signals by name; their fields may be given as a mapping, as checkpoints store them."""
    return {
        name: head if isinstance(head, SignalHead) else SignalHead(**head)
        for name, head in (signals or {}).items()
    }


def as_config(heads: Heads) -> dict[str, dict[str, Any]]:
    """Return heads as plain values, as checkpoints store them."""
    return {name: asdict(head) for name, head in heads.items()}


def specs_of(heads: Heads) -> tuple[SignalSpec, ...]:
    """Return the heads as the manifest's signals."""
    return tuple(
        SignalSpec(name=name, description=head.description) for name, head in heads.items()
    )


def shown_signals(heads: Heads, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return what the world says, for the outputs of all heads in order."""
    return tuple(head.shown(output) for head, output in zip(heads.values(), outputs, strict=True))
