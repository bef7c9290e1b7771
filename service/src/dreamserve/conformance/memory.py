"""Checks of recurrent tensors: they are used, and come back in the order in which they came."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np

from dreamserve.backends.base import Array
from dreamserve.conformance.report import Finding
from dreamserve.conformance.subject import Subject

_CLEARLY = 0.5  # a swapped order is at most this much as far from what came before


def memory(subject: Subject) -> Iterator[Finding]:
    """Each recurrent tensor is used, and continues itself, not another one of its shape."""
    yield from _unused(subject)
    yield from _swapped(subject)


def _unused(subject: Subject) -> Iterator[Finding]:
    spec, rows, backend = subject.spec, subject.rows, subject.backend
    expected = backend.step(rows)
    for i, name in enumerate(tensor.name for tensor in spec.recurrent_state):
        other = tuple(part + (j == i) for j, part in enumerate(rows.state))
        found = backend.step(replace(rows, state=other)).arrays()
        if all(map(np.array_equal, found, expected.arrays())):
            text = f"step: {name} changes no output; leave it out of recurrent_state, or use it"
            yield Finding(text, "warning")
        elif np.array_equal(expected.state[i], rows.state[i]):
            text = f"step: next_{name} is {name}, unchanged; it remembers nothing of the dream"
            yield Finding(text, "warning")
        elif (expected.state[i] == expected.state[i][0]).all():
            text = f"step: next_{name} is the same in every dream; it remembers nothing of one"
            yield Finding(text, "warning")


def _swapped(subject: Subject) -> Iterator[Finding]:
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
