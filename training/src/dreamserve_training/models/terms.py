"""The terms of a loss: means, kept as sums and numbers, so that those of batches can be joined.

A mean of batches' means, or of processes', is another one where they have different numbers.
"""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, where


class Term(NamedTuple):
    """A mean of errors, which counts in the loss with a weight."""

    total: Tensor  # scalar, the errors' sum
    number: Tensor  # scalar, of the errors
    weight: float = 1.0

    @property
    def mean(self) -> Tensor:
        """The mean, a scalar; 0 of no errors."""
        return self.total / self.number.clamp(min=1)


Terms = Mapping[str, Term]


def masked(errors: Tensor, mask: Tensor, weight: float = 1.0) -> Term:
    """Return the term of `errors` where `mask`, of the same shape, is true."""
    # where instead of multiplication, because padding may hold NaN
    return Term(where(mask, errors, 0.0).sum(), mask.sum(), weight)


def joined(terms: Terms) -> dict[str, Tensor]:
    """Return the means by name, and their weighted sum as `loss`, scalars."""
    means = {name: term.mean for name, term in terms.items()}
    first, *others = terms
    loss = terms[first].weight * means[first]
    for name in others:
        loss = loss + terms[name].weight * means[name]
    return {"loss": loss, **means}
