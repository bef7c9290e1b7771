"""Opens an ONNX graph with onnxruntime. Imports little: each trial of a graph starts with it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import onnxruntime as ort

from dreamserve.errors import BackendError

Device = Literal["cpu", "cuda"]
TensorOf = tuple[Sequence[int], Literal["float32", "int64"]]  # the shape of one row, and the dtype
_FATAL = 4  # of onnxruntime's levels
_TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)"}


def open_session(
    content: bytes, threads: int, device: Device, max_bytes: int
) -> ort.InferenceSession:
    """Return a session of the graph in an ONNX file; a run that needs more memory fails.

    `max_bytes` bounds the tensors in the host's memory. Raises BackendError if the device is not
    available, and for an invalid file onnxruntime's own exceptions, which share no base but
    Exception.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Its exceptions tell everything; its own lines on stderr would be none of the log.
    options.log_severity_level = _FATAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Otherwise a file in onnxruntime's own format, whose operators nobody checked, is loaded, too.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    _limit_next_session(max_bytes)
    options.add_session_config_entry("session.use_env_allocators", "1")
    provider, settings = {
        "cpu": ("CPUExecutionProvider", {}),
        # By default it multiplies matrices in TF32, with 10 bits of mantissa.
        "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),
    }[device]
    if provider not in (available := ort.get_available_providers()):
        raise BackendError(f"this onnxruntime has no {provider}; it has {', '.join(available)}")
    session = ort.InferenceSession(content, options, providers=[(provider, settings)])
    if provider not in session.get_providers():
        raise BackendError(f"onnxruntime cannot use {provider} on this machine")
    return session


def misfits(nodes: Sequence[Any], expected: Mapping[str, TensorOf]) -> list[str]:
    """Return what is wrong with the inputs or outputs of a session, which should be `expected`."""
    names = tuple(node.name for node in nodes)
    if names != tuple(expected):
        return [f"must be {tuple(expected)}, are {names}"]
    wrong = []
    for node, (name, (shape, dtype)) in zip(nodes, expected.items(), strict=True):
        if node.type != _TYPES[dtype]:
            wrong.append(f"{name} must be a {_TYPES[dtype]}, is a {node.type}")
        batch, *rest = node.shape or (None,)
        right = ["batch", *shape]
        if len(rest) != len(shape) or any(
            isinstance(found, int) and found != size
            for found, size in zip(rest, shape, strict=True)
        ):
            wrong.append(f"{name} must be {right}, is {node.shape}")
        elif isinstance(batch, int):
            wrong.append(f"{name} must be {right} with a dynamic batch axis, is {node.shape}")
    return wrong


def _limit_next_session(max_bytes: int) -> None:
    """Let the next session allocate its tensors from an arena of its own, of this size."""
    host = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    default = -1  # how it grows, its first size, what it leaves unused
    ort.create_and_register_allocator(host, ort.OrtArenaCfg(max_bytes, default, default, default))
