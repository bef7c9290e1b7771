"""Write a graph in the two formats of a bundle, ONNX and TorchScript, with float16 weights.

Neither file holds paths or names of the machine it was written on.
"""

import inspect
import io
import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from dreamserve_training.export.errors import ExportError

OPSET = 18
_SMALLEST_STORED_IN_HALF = 64  # numbers; below that a Cast costs more than it saves


def write_onnx(
    graph: nn.Module,
    example: tuple[Tensor, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    path: Path,
) -> None:
    """Write `graph` as ONNX to `path`, its first axis dynamic in every input.

    Weights are float16 behind a Cast to float32, which onnxruntime folds when it loads the file:
    half the bytes, and inference as fast as from float32. Raises ExportError for a weight that
    float16 would change.
    """
    dynamic = {0: torch.export.Dim("batch")}
    # a step takes its state as *rest: such a parameter has the shapes of all its tensors
    parameters = inspect.signature(graph.forward).bind(*example).arguments.values()
    shapes = tuple(
        dynamic if isinstance(value, Tensor) else tuple(dynamic for _ in value)
        for value in parameters
    )
    with warnings.catch_warnings():
        # torch's exporter warns of its own use of pytree, and that all batch axes share one name
        warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r".*The axis name: batch will not be used", UserWarning)
        with _without_torchvision_notices():
            program = torch.onnx.export(
                graph,
                example,
                dynamo=True,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=shapes,
                opset_version=OPSET,
                verbose=False,
            )
    if program is None:  # only without dynamo, the type allows it nevertheless
        raise ExportError(f"{path.name}: torch.onnx.export gave no program")
    model = program.model_proto
    _store_weights_in_half(model.graph)
    _strip_metadata(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


@contextmanager
def _without_torchvision_notices() -> Iterator[None]:
    """The exporter logs that torchvision is absent; no graph here needs it."""

    def keep(record: logging.LogRecord) -> bool:
        return "torchvision is not installed" not in record.getMessage()

    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


def _store_weights_in_half(graph: onnx.GraphProto) -> None:
    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        if values.size < _SMALLEST_STORED_IN_HALF:
            continue
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            raise ExportError(f"{weight.name}: its weights are not rounded to half precision")
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _strip_metadata(model: onnx.ModelProto) -> None:
    """Drop the stack traces and inferred shapes that the exporter leaves at every node."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for weight in model.graph.initializer:
        del weight.metadata_props[:]
        weight.doc_string = ""


def write_torchscript(graph: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
    """Write `graph` as TorchScript to `path`, weights in float16.

    The reader calls `.float()` after `torch.jit.load`: nothing in the trace depends on it. Raises
    ExportError for a weight that float16 would change.
    """
    for name, tensor in (*graph.named_parameters(), *graph.named_buffers()):
        if tensor.is_floating_point() and not torch.equal(tensor.half().to(tensor.dtype), tensor):
            raise ExportError(f"{name}: its weights are not rounded to half precision")
    with warnings.catch_warnings(), torch.no_grad():
        # deprecated in favour of torch.export, whose archives can be read by torch's own version
        # only; tracing still is the one format that every torch since 2.0 loads
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        traced = torch.jit.trace(deepcopy(graph), example, check_trace=False)
        buffer = io.BytesIO()
        torch.jit.save(traced.half(), buffer)
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(path, "w") as file:
        for entry in archive.infolist():
            if not entry.filename.endswith(".debug_pkl"):  # source paths, for error messages only
                file.writestr(zipfile.ZipInfo(entry.filename), archive.read(entry.filename))
