"""Compare the outputs of exported files with those of the trained models.

Outputs are compared for the same inputs at every step of dreams of the reference; actions and
temperatures (T = 0 included) are random, and so is the first state, or one of dreams.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from dreamserve.backends.accuracy import (
    drawn_choices,
    random_states,
    random_step,
    relative_difference,
    root_mean_square,
)
from dreamserve.backends.base import Array, Backend, State, StepInput, StepOutput
from dreamserve.bundle import Arrays
from dreamserve.conformance.draws import likeliest
from dreamserve.conformance.subject import named, taken
from dreamserve.manifest import WorldSpec
from dreamserve.manifest_parts import GraphName
from dreamserve.observations import FrameSpec
from dreamserve_training.export.errors import ExportError

TOLERANCE = 1e-4  # relative
# Signals below it are compared by their absolute error: the last bits of a logit are a larger part
# of a small probability.
LEAST_SIGNAL = 0.01
BATCHES = (1, 3, 64)
STEPS = 4
IDENTITY_ROWS = 1024
_STATES, _AHEAD = 64, 8  # rows of `dreamt_states`, and how far their dreams go
IDENTITY_BATCHES = (1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 128, 256, 500, 512, 1023)


def bank_states(spec: WorldSpec, bank: Arrays) -> State:
    """Return the recurrent tensors (N, *shape) of a bank's moments."""
    names = (f"state.{tensor.name}" for tensor in spec.recurrent_state)
    return tuple(bank[name].astype(np.float32) for name in names)


def dreamt_states(spec: WorldSpec, backend: Backend, bank: Arrays) -> State:
    """Return recurrent tensors (64, *shape) that dreams from `bank` pass through.

    Those that never occur, such as a count of -0.3, need not be computed alike, nor at all.
    """
    rng, rows = np.random.default_rng(0), _STATES
    index = rng.integers(0, len(next(iter(bank.values()))), rows)
    posterior = spec.head.posterior(spec.latent_size)
    latent = spec.head.mode(tuple(bank[name][index].astype(np.float32) for name in posterior))
    state = tuple(part[index] for part in bank_states(spec, bank))
    kept = [part.copy() for part in state]
    for step in range(_AHEAD):
        inputs = replace(random_step(spec, rng, rows), latent=latent, state=state)
        output = backend.step(inputs)
        latent, state = output.latent, output.state
        for part, new in zip(kept, state, strict=True):
            part[step::_AHEAD] = new[step::_AHEAD]
    return tuple(kept)


def check_parity(
    spec: WorldSpec,
    reference: Backend,
    others: Mapping[str, Backend],
    seed: int = 0,
    states: State = (),
) -> dict[str, float]:
    """Return the largest relative difference from `reference` of each of `others`, by name.

    Recurrent tensors are as `random_step` takes them from `states`, such as `dreamt_states`.

    Raises ExportError, which names the output, if an output is not finite or differs by more than
    TOLERANCE, or if two recurrent tensors are swapped.
    """
    worst, sizes = dict.fromkeys(others, 0.0), _usual_sizes(spec, reference, states)
    for name, other in others.items():
        pair = Pair(spec, reference, other, name, sizes, states)
        for output, difference in pair.differences(np.random.default_rng(seed)):
            if difference > TOLERANCE:
                raise ExportError(
                    f"{name} differs from {reference.name} by {difference:.2g} (relative) in"
                    f" {output}; at most {TOLERANCE:g} is allowed"
                )
            worst[name] = max(worst[name], difference)
    return worst


def same_in_every_batch(
    spec: WorldSpec, backend: Backend, seed: int = 0, states: State = ()
) -> bool:
    """Return whether each row's step is bit-identical in batches of IDENTITY_BATCHES."""
    rows = random_step(spec, np.random.default_rng(seed), IDENTITY_ROWS, states=states)
    whole = named(spec, backend.step(rows))
    for size in IDENTITY_BATCHES:
        for begin in (0, IDENTITY_ROWS - size):
            part = named(spec, backend.step(taken(rows, slice(begin, begin + size))))
            for name, expected in whole.items():
                if part[name].tobytes() != expected[begin : begin + size].tobytes():
                    return False
    return True


def _usual_sizes(spec: WorldSpec, backend: Backend, states: State) -> dict[str, float]:
    """Return the root mean square of each of a step's outputs over many rows.

    A number of one row alone, such as a reward, is near 0 by chance, and its last bits are not.
    """
    rows = random_step(spec, np.random.default_rng(0), IDENTITY_ROWS, states=states)
    output = backend.step(rows)
    least = {signal.name: LEAST_SIGNAL for signal in spec.signals}
    return {
        name: max(root_mean_square(array), least.get(name, 0.0))
        for name, array in named(spec, output).items()
    }


def random_inputs(
    spec: WorldSpec,
    graph: GraphName,
    batch: int,
    rng: np.random.Generator,
    states: State = (),
) -> list[Array]:
    """Return random inputs of a graph other than `step`, in order; states as `random_step`."""
    low, high = 0.0, 1.0
    if isinstance(spec.observation, FrameSpec):
        low, high = spec.observation.value_range
    (name, shape), *others = spec.graph_inputs()[graph].items()
    first = rng.standard_normal((batch, *shape), np.float32)
    if name == "frames":
        first = rng.uniform(low, high, (batch, *shape)).astype(np.float32)
    return [first, *(random_states(spec, rng, batch, states) if others else ())]


def outputs_of(backend: Backend, graph: GraphName, given: list[Array]) -> tuple[Array, ...]:
    """Return the outputs of a graph other than `step`, for its inputs in order."""
    first, *state = given
    match graph:
        case "encode":
            return backend.encode(first, tuple(state))
        case "decode":
            return (backend.decode(first),)
    return (backend.policy(first, tuple(state)),)


@dataclass(frozen=True)
class Pair:
    """A backend that is compared with a reference."""

    spec: WorldSpec
    reference: Backend
    other: Backend
    name: str  # of the other
    sizes: Mapping[str, float]  # of the step's outputs
    states: State

    def differences(self, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
        """Yield outputs and how much they differ, relatively. ExportError as `check_parity`."""
        for batch in BATCHES:
            for graph, outputs in self.spec.graph_outputs().items():
                if graph == "step":
                    continue
                given = random_inputs(self.spec, graph, batch, rng, self.states)
                found = (outputs_of(each, graph, given) for each in (self.reference, self.other))
                for output, expected, actual in zip(outputs, *found, strict=True):
                    yield output, _checked_difference(self.name, output, expected, actual)
            yield from self._of_steps(batch, rng)

    def _of_steps(self, batch: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
        spec, name, state = self.spec, self.name, None
        for _ in range(STEPS):
            step = random_step(spec, rng, batch, states=self.states)
            if state is not None:
                step = replace(step, state=state)
            result = self.reference.step(step)
            expected, actual = (named(spec, out) for out in (result, self.other.step(step)))
            _refuse_swapped(spec, name, expected, actual)
            is_comparable = _is_comparable(spec, step, result)
            for output in expected:
                pair = expected[output], actual[output]
                if output == "next_latent":
                    if not np.isfinite(pair[1]).all():
                        raise ExportError(f"{name}: {output} holds NaN or infinity")
                    pair = pair[0][is_comparable], pair[1][is_comparable]
                yield output, _checked_difference(name, output, *pair, self.sizes[output])
            state = result.state


def _checked_difference(
    name: str, output: str, expected: Array, actual: Array, least: float = 0.0
) -> float:
    if actual.shape != expected.shape:
        raise ExportError(f"{name}: {output} is {actual.shape}, must be {expected.shape}")
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        raise ExportError(f"{name}: {output} holds NaN or infinity")
    return relative_difference(expected, actual, least)


def _refuse_swapped(
    spec: WorldSpec, name: str, expected: dict[str, Array], actual: dict[str, Array]
) -> None:
    names = [f"next_{tensor.name}" for tensor in spec.recurrent_state]
    for first, second in combinations(names, 2):
        pairs = ((first, second), (second, first))
        same = [_is_close(expected[own], expected[other]) for own, other in pairs]
        if not any(same) and all(_is_close(expected[own], actual[other]) for own, other in pairs):
            raise ExportError(f"{name}: {first} and {second} are swapped")


def _is_close(expected: Array, actual: Array) -> bool:
    return expected.shape == actual.shape and relative_difference(expected, actual) <= TOLERANCE


def _is_comparable(spec: WorldSpec, step: StepInput, output: StepOutput) -> npt.NDArray[np.bool_]:
    """Return a mask (B, Z) of latents for which rounding cannot change what was chosen."""
    is_zero = step.temperature == 0
    warm = replace(step, temperature=np.where(is_zero, np.float32(1), step.temperature))
    _, near_border = drawn_choices(spec, warm, output)
    _, is_clear = likeliest(spec, output)
    return np.where(is_zero[:, None], is_clear, ~near_border)
