"""Write a graph in the two formats of a bundle, ONNX and TorchScript, with float16 weights.

The files contain no paths or names of the machine that wrote them.
"""

import inspect
import io
import logging
import traceback
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
_OTHERS = (str(Path(torch.__file__).parent), str(Path(onnx.__file__).parent), __file__)
_ROUND = "weights must be rounded to half precision, by half_precision"
_SMALLEST_STORED_IN_HALF = 64  # elements; for fewer a Cast costs more than it saves


def write_onnx(
    graph: nn.Module,
    example: tuple[Tensor, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    path: Path,
) -> None:
    """Write `graph` as ONNX to `path`, with a dynamic first axis in every input.

    Weights are stored in float16 with a Cast to float32, which onnxruntime folds at load time, so
    inference is as fast as with float32 weights. What float16 does not represent exactly stays
    float32, such as a constant made by the module. Raises ExportError for such a parameter, and
    for a graph that was traced for one batch size.
    """
    _check_rounded(graph)
    dynamic = {0: torch.export.Dim("batch")}
    # StepGraph takes *rest, a tuple of tensors, which needs a tuple of shapes
    parameters = inspect.signature(graph.forward).bind(*example).arguments.values()
    shapes = tuple(
        dynamic if isinstance(value, Tensor) else tuple(dynamic for _ in value)
        for value in parameters
    )
    with warnings.catch_warnings():
        # torch's exporter warns about its own pytree use and about the shared axis name
        warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r".*The axis name: batch will not be used", UserWarning)
        with _without_torchvision_notices(), _names_what_cannot_be_traced(path):
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
    if program is None:  # never with dynamo=True, but the return type allows it
        raise ExportError(f"{path.name}: torch.onnx.export returned no program")
    model = program.model_proto
    _refuse_fixed_batch(model.graph, path)
    _store_weights_in_half(model.graph)
    _strip_metadata(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


@contextmanager
def _without_torchvision_notices() -> Iterator[None]:
    """Suppress the exporter's log lines about missing torchvision, which no graph needs."""

    def keep(record: logging.LogRecord) -> bool:
        return "torchvision is not installed" not in record.getMessage()

    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


@contextmanager
def _names_what_cannot_be_traced(path: Path) -> Iterator[None]:
    try:
        yield
    except torch.onnx.OnnxExporterError as error:
        # torch's own message begins with advice for its developers; its cause is the fault
        cause = error.__cause__ or error
        raise ExportError(
            f"{path.name}: torch cannot export the module: {str(cause).strip().splitlines()[0]}"
            f"{_place_in_module(cause)}; no branch or loop of Python may depend on the values of"
            " tensors or on the size of the batch"
        ) from error


def _place_in_module(error: BaseException) -> str:
    """Return the last line outside torch that led to an error, in brackets."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not frame.filename.startswith(_OTHERS)]
    if not outside:
        return ""
    return f" ({outside[-1].filename}, line {outside[-1].lineno}: {outside[-1].line})"


def _refuse_fixed_batch(graph: onnx.GraphProto, path: Path) -> None:
    for part in (*graph.input, *graph.output):
        axis = part.type.tensor_type.shape.dim[0]
        if not axis.dim_param:
            raise ExportError(
                f"{path.name}: the batch axis of {part.name} became the constant {axis.dim_value}"
                " in the trace: a module that calls len(x) or int() on a size, or loops over rows,"
                " fixes it; use x.shape[0], or -1 in reshape"
            )


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
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _strip_metadata(model: onnx.ModelProto) -> None:
    """Remove the stack traces and inferred shapes that the exporter adds to every node."""
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
    """Write `graph` as TorchScript to `path`, with weights in float16.

    Call `.float()` after `torch.jit.load`; the trace does not depend on the dtype. Raises
    ExportError for a weight that float16 does not represent exactly; such buffers stay float32.
    """
    _check_rounded(graph)
    with warnings.catch_warnings(), torch.no_grad():
        # deprecated in favour of torch.export, whose archives only the same torch version reads;
        # every torch since 2.0 loads a trace
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]  # torch's
            deepcopy(graph), example, check_trace=False
        )
        buffer = io.BytesIO()
        for tensor in (*traced.parameters(), *traced.buffers()):
            if tensor.is_floating_point() and _is_half(tensor):
                tensor.data = tensor.data.half()
        torch.jit.save(traced, buffer)
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(path, "w") as file:
        for entry in archive.infolist():
            if not entry.filename.endswith(".debug_pkl"):  # source paths, for error messages only
                file.writestr(zipfile.ZipInfo(entry.filename), archive.read(entry.filename))


def _check_rounded(graph: nn.Module) -> None:
    for name, tensor in graph.named_parameters():
        if not _is_half(tensor):
            raise ExportError(f"{name}: {_ROUND}")


def _is_half(tensor: Tensor) -> bool:
    return torch.equal(tensor.half().to(tensor.dtype), tensor)
