"""Checks what `write_bundle` is given before it traces anything, which takes seconds each.

A module that is called with plain tensors says what is wrong with it in a way that its author
understands; the exporter, which traces it with symbolic sizes, does not.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dreamserve.archives import AGE
from dreamserve.backends.accuracy import random_step, relative_difference
from dreamserve.backends.base import State
from dreamserve.backends.torch import TorchBackend
from dreamserve.bundle import Arrays, bank_shapes
from dreamserve.manifest import WorldSpec
from dreamserve.manifest_parts import GraphName
from dreamserve_training.export.errors import ExportError
from dreamserve_training.export.parity import bank_states, dreamt_states, random_inputs

# The rows of a trial: their temperatures, and their actions from the lowest (0) to the highest (1).
_TEMPERATURES = np.array([0.0, 0.5, 1.0], np.float32)
_ACTIONS = np.array([0.5, 0.0, 1.0], np.float32)
_ROWS = len(_TEMPERATURES)
_TOLD = ("temperature", "action")
_SAME = 1e-3  # relative; rounding differs with the size of a batch


def check_modules(spec: WorldSpec, modules: Mapping[GraphName, nn.Module], bank: Arrays) -> None:
    """Call each module on random rows, of three temperatures and actions.

    Recurrent tensors are the bank's first, and then those of dreams that begin there. Raises
    ExportError, which names the graph and the tensor, if the modules are not those of the spec, if
    one raises, if an output is missing, of another shape or dtype, or not finite, and if it changes
    from call to call or with the other rows of its batch.
    """
    if modules.keys() != spec.graph_outputs().keys():
        raise ExportError(f"the spec has {list(spec.graph_outputs())}, not {list(modules)}")
    _try_modules(spec, modules, bank_states(spec, bank))
    if spec.recurrent_state:
        _try_modules(spec, modules, dreamt_states(spec, TorchBackend(spec, modules), bank))


def _try_modules(spec: WorldSpec, modules: Mapping[GraphName, nn.Module], states: State) -> None:
    rng = np.random.default_rng(0)
    for graph, shapes in spec.graph_outputs().items():
        inputs = _random_rows(spec, graph, rng, states)
        outputs = _outputs(graph, modules[graph], inputs)
        if len(outputs) != len(shapes):
            raise ExportError(
                f"{graph}: must return {len(shapes)} tensors, {', '.join(shapes)}; it returns"
                f" {len(outputs)}"
            )
        for (name, shape), output in zip(shapes.items(), outputs, strict=True):
            _check_output(f"{graph}: {name}", output, (_ROWS, *shape), inputs)
        first = {name: tensor[:1] for name, tensor in inputs.items()}
        for others, changes in (
            (inputs, "from call to call; randomness comes from the input noise only"),
            (first, "with the other rows of its batch; reduce over features, not over rows"),
        ):
            again = _outputs(graph, modules[graph], others)
            for name, output, other in zip(shapes, outputs, again, strict=True):
                if relative_difference(output[:1].numpy(), other[:1].numpy()) > _SAME:
                    raise ExportError(f"{graph}: {name} changes {changes}")


def check_bank(spec: WorldSpec, bank: Arrays) -> None:
    """Raise ExportError unless the bank is arrays of the names and shapes that the spec asks for.

    Ages are whole numbers from 0 on.
    """
    for name, array in bank.items():
        if not isinstance(array, np.ndarray):
            kind = type(array).__name__
            raise ExportError(f"bank: {name} must be a numpy array, is a {kind}")
    size = len(next(iter(bank.values()), ()))
    expected = bank_shapes(spec, size) | ({AGE: (size,)} if AGE in bank else {})
    if bank.keys() != expected.keys():
        raise ExportError(f"the bank must hold {sorted(expected)}, not {sorted(bank)}")
    for name, shape in expected.items():
        if bank[name].shape != shape:
            raise ExportError(f"bank: {name} must be {shape}, is {bank[name].shape}")
    if AGE in bank and ((bank[AGE] != np.floor(bank[AGE])).any() or bank[AGE].min() < 0):
        raise ExportError(f"bank: {AGE} must be whole numbers of steps, from 0 on")


def _random_rows(
    spec: WorldSpec, graph: GraphName, rng: np.random.Generator, states: State
) -> dict[str, Tensor]:
    if graph != "step":
        arrays: list[npt.NDArray[Any]] = [*random_inputs(spec, graph, _ROWS, rng, states)]
    else:
        row, space = random_step(spec, rng, _ROWS, states=states), spec.action_space
        actions = space.uniform(np.multiply.outer(_ACTIONS, np.ones(space.shape, np.float32)))
        arrays = [row.latent, actions, *row.state, _TEMPERATURES, row.noise]
    return dict(zip(spec.graph_inputs()[graph], map(torch.from_numpy, arrays), strict=True))


def _outputs(graph: str, module: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    try:
        with torch.inference_mode():
            returned = module(*(tensor.clone() for tensor in inputs.values()))
    except Exception as error:  # whatever a stranger's module raises
        given = ", ".join(f"{name} {_kind(tensor)}" for name, tensor in inputs.items())
        raise ExportError(
            f"{graph}: the module raises {type(error).__name__}: {error}; it was called with"
            f" {given}"
        ) from error
    return (returned,) if isinstance(returned, Tensor) else tuple(returned)


def _check_output(
    where: str, output: Tensor, shape: tuple[int, ...], inputs: Mapping[str, Tensor]
) -> None:
    if output.shape != shape or output.dtype != torch.float32:
        raise ExportError(
            f"{where} must be {shape} float32 for a batch of {_ROWS}, is {_kind(output)}"
        )
    for row in range(_ROWS):
        if not output[row].isfinite().all():
            row_of = {name: inputs[name][row].tolist() for name in _TOLD if name in inputs}
            at = " and ".join(f"{name} {value}" for name, value in row_of.items())
            raise ExportError(f"{where} is NaN or infinite" + (f" at {at}" if at else ""))


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
