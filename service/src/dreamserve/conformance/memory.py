"""A check that recurrent tensors come back in the order in which they were given."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from dreamserve.backends.base import Array
from dreamserve.conformance.report import Finding
from dreamserve.conformance.subject import Subject

_CLEARLY = 0.5  # a swapped order is at most this much as far from what came before


def memory(subject: Subject) -> Iterator[Finding]:
    """Each recurrent tensor continues itself, not another one of its shape."""
    spec, index = subject.spec, subject.moments
    rows = subject.beginnings
    after = subject.backend.step(rows).state
    for (i, one), (j, other) in combinations(enumerate(spec.recurrent_state), 2):
        if one.shape != other.shape or np.array_equal(rows.state[i], rows.state[j]):
            continue
        kept = _distance(after[i], rows.state[i]), _distance(after[j], rows.state[j])
        swapped = _distance(after[i], rows.state[j]), _distance(after[j], rows.state[i])
        if all(s < k for s, k in zip(swapped, kept, strict=True)) and (
            sum(swapped) < _CLEARLY * sum(kept)
        ):
            yield Finding(
                f"step: next_{one.name} continues {other.name} and next_{other.name} continues"
                f" {one.name} of the bank's {len(index)} moments: they are swapped, in step or in"
                f" the bank; the order is {one.name}, {other.name}"
            )


def _distance(one: Array, other: Array) -> float:
    return float(np.square(one - other).mean())
