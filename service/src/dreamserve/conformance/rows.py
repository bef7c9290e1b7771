"""Checks that a row's outputs depend on that row only, to the bit, and on nothing else."""

from collections.abc import Callable, Iterator, Sequence

from dreamserve.backends.accuracy import relative_difference
from dreamserve.backends.base import Array
from dreamserve.conformance.observations import seen
from dreamserve.conformance.report import Finding
from dreamserve.conformance.subject import Subject, taken
from dreamserve.manifest_parts import GraphName

SIZES = (1, 2, 3, 7, 16, 33)
_ROUNDING = 1e-4  # relative: more than the last bits
_STEADY = (  # measured in tests/service/conformance/test_steady_operators.py
    ": onnxruntime rounds Log, Softplus, Elu, Sin and the like, and sums over features, by a row's"
    " place in memory if its size is no multiple of 8; pad such rows, or take other operators"
    " (docs/bundle.md, Independent rows)"
)

Outputs = dict[str, Array]
Call = Callable[[slice], Sequence[Array]]


def independent_rows(subject: Subject) -> Iterator[Finding]:
    """Each row's outputs are the same to the bit alone and among others."""
    for name, rows, call in calls(subject):
        whole = call(slice(None))
        for output, worst in _differences(subject, name, rows, call, whole).items():
            if worst > _ROUNDING:
                why = "depends on the other rows of its batch: no sums or statistics over axis 0"
            else:
                why = f"differs in its last bits by the batch ({worst:.1g} relative){_STEADY}"
            yield Finding(
                f"{name}: {output} {why}; a row alone and among others must give the same bits"
            )


def pure(subject: Subject) -> Iterator[Finding]:
    """The same call twice gives the same bits."""
    for name, _, call in calls(subject):
        outputs = subject.spec.graph_outputs()[name]
        for output, one, other in zip(outputs, *(call(slice(None)) for _ in "12"), strict=True):
            if one.tobytes() != other.tobytes():
                yield Finding(
                    f"{name}: {output} differs between two calls with the same inputs; a graph has"
                    " no state and no randomness of its own"
                )


def calls(subject: Subject) -> Iterator[tuple[GraphName, int, Call]]:
    """Yield each graph's name, a number of rows, and what returns its outputs for a part."""
    spec, backend, rows = subject.spec, subject.backend, subject.rows
    observations, state = seen(subject)
    few = slice(0, len(observations))
    yield "step", len(rows.latent), lambda part: backend.step(taken(rows, part)).arrays()
    yield (
        "encode",
        len(observations),
        lambda part: backend.encode(observations[part], tuple(one[part] for one in state)),
    )
    if spec.has_decode:
        yield (
            "decode",
            len(observations),
            lambda part: (backend.decode(rows.latent[few][part]),),
        )
    if spec.has_policy:
        yield (
            "policy",
            len(rows.latent),
            lambda part: (
                backend.policy(rows.latent[part], tuple(one[part] for one in rows.state)),
            ),
        )


def _differences(
    subject: Subject, name: GraphName, rows: int, call: Call, whole: Sequence[Array]
) -> dict[str, float]:
    """Return the largest relative difference of each output that differs at all."""
    worst: dict[str, float] = {}
    for size in SIZES:
        for begin in {0, max(0, rows - size)}:
            part = slice(begin, min(begin + size, rows))
            names = subject.spec.graph_outputs()[name]
            for output, found, expected in zip(names, call(part), whole, strict=True):
                if found.tobytes() != expected[part].tobytes():
                    difference = relative_difference(expected[part], found)
                    worst[output] = max(worst.get(output, 0.0), difference)
    return worst
