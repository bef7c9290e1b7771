"""Checks, once at loading, that a backend's outputs fit the world's spec."""

import time

import numpy as np

from dreamserve.backends.base import Array, Backend, StepInput
from dreamserve.errors import BundleError, Problems
from dreamserve.heads.base import Shape
from dreamserve.manifest import WorldSpec
from dreamserve.manifest_parts import GraphName

TRIED = {"temperature": 1.0, "noise": 0.5}  # the numbers that graphs are tried with; others are 0


def dummy_input(spec: WorldSpec, rows: int) -> StepInput:
    """Return a step's input of the right shapes: `TRIED`, else zeros."""
    shapes = spec.graph_inputs()["step"]
    numbers = {
        name: np.full((rows, *shape), TRIED.get(name, 0), np.float32)
        for name, shape in shapes.items()
    }
    return StepInput(
        latent=numbers["latent"],
        action=spec.action_space.zeros(rows),
        state=tuple(numbers[tensor.name] for tensor in spec.recurrent_state),
        temperature=numbers["temperature"],
        noise=numbers["noise"],
    )


def step_s(spec: WorldSpec, backend: Backend, rows: int, rounds: int = 5) -> float:
    """Return the duration of a step of so many rows, in seconds: the minimum of `rounds`."""
    batch = dummy_input(spec, rows)
    took_s = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        backend.step(batch)
        took_s.append(time.perf_counter() - began_s)
    return min(took_s)


def check_backend(spec: WorldSpec, backend: Backend) -> None:
    """Run each graph on one row and on two.

    Raises BundleError, with the problems of all graphs, if one fails or does not fit.
    """
    problems = Problems()
    for name, expected in spec.graph_outputs().items():
        with problems.collected():
            for rows in (1, 2):
                try:
                    arrays = _outputs(spec, backend, name, rows)
                except Exception as error:
                    raise BundleError(
                        f"{spec.name}: graph {name} fails on {rows} rows, on the {backend.name}"
                        f" backend: {error}"
                    ) from error
                _check(f"{spec.name}: graph {name}", arrays, expected, rows)
    problems.raise_if_any()


def _outputs(spec: WorldSpec, backend: Backend, name: GraphName, rows: int) -> tuple[Array, ...]:
    step = dummy_input(spec, rows)
    match name:
        case "encode":
            seen = np.zeros((rows, *spec.observation.shape), np.float32)
            return backend.encode(seen, step.state if spec.encode_memory else ())
        case "step":
            return backend.step(step).arrays()
        case "decode":
            return (backend.decode(step.latent),)
    return (backend.policy(step.latent, step.state),)


def _check(where: str, arrays: tuple[Array, ...], expected: dict[str, Shape], rows: int) -> None:
    if len(arrays) != len(expected):
        raise BundleError(f"{where} must return {tuple(expected)}, returns {len(arrays)} arrays")
    problems = Problems()
    for array, (name, shape) in zip(arrays, expected.items(), strict=True):
        if array.shape != (rows, *shape):
            problems.add(f"{where}: {name} must be {(rows, *shape)}, is {array.shape}")
        elif array.dtype != np.float32:
            problems.add(f"{where}: {name} must be float32, is {array.dtype}")
        elif not np.isfinite(array).all():
            problems.add(f"{where}: {name} holds NaN or infinity for a zero latent and state")
    problems.raise_if_any()
