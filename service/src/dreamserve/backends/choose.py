"""Selects a backend by name, and the number of threads it runs with.

    auto         if there is a CUDA device torch-cuda or, without trust in TorchScript, onnx-cuda;
                 else onnx
    onnx         onnxruntime on the CPU
    torch        TorchScript on the CPU
    onnx-cuda    onnxruntime on a CUDA device; the sessions' state stays on the host
    torch-cuda   TorchScript on a CUDA device; the sessions' state stays on the device

onnx-cuda has not been run on a CUDA device: tests run the same code on a CPU.

A TorchScript file is a program that can do what this process can, already while it is loaded. So
torch is imported, and the file opened, only for a bundle that is trusted (`dreamserve.trust`).
"""

import ctypes
import logging
import os
from importlib.util import find_spec
from typing import Literal, get_args

from dreamserve.backends.base import Backend, Precision
from dreamserve.backends.check import step_s
from dreamserve.backends.onnx import OnnxBackend
from dreamserve.bundle import Bundle
from dreamserve.errors import BackendError

BackendName = Literal["auto", "onnx", "torch", "onnx-cuda", "torch-cuda"]

AUTO_THREADS = 0  # as many threads as make a large batch faster on this machine, measured
_MEASURED_ROWS = 256
_MAX_TIME_RATIO = 0.75  # twice the threads must take at most this share of the time

log = logging.getLogger("dreamserve")


def load_backend(
    bundle: Bundle,
    name: BackendName = "auto",
    threads: int = AUTO_THREADS,
    precision: Precision = "float32",
) -> Backend:
    """Return the backend `name`, loaded with the graphs of `bundle`.

    `threads` applies to onnx, `precision` to torch-cuda. Raises BackendError if the name is
    unknown, this machine cannot run it, or the bundle is not trusted to run it; BundleError if the
    graphs do not fit the manifest or exceed the bundle's limits.
    """
    if name == "auto":
        return _best(bundle, threads, precision)
    if name != "torch-cuda":
        _check_float32(name, precision)
    if name == "onnx":
        return _on_cpu(bundle, threads)
    if name == "onnx-cuda":
        return OnnxBackend.from_bundle(bundle, device="cuda")
    if name not in ("torch", "torch-cuda"):
        raise BackendError(f"no backend {name!r}; known: {', '.join(get_args(BackendName))}")
    if not bundle.trust.trust_torchscript:
        raise BackendError(
            f"backend {name} runs the TorchScript of {bundle.path}, which can do whatever this user"
            " can; if you trust who made it, use --trust-torchscript (trust_torchscript), or else"
            " backend onnx"
        )
    try:
        from dreamserve.backends.torch import TorchBackend
        from dreamserve.backends.torch_device import TorchDeviceBackend
    except ModuleNotFoundError as error:
        raise BackendError(
            f"backend {name} needs torch, which is not installed: pip install 'dreamserve[torch]'"
        ) from error
    if name == "torch":
        return TorchBackend.from_bundle(bundle)
    return TorchDeviceBackend.from_bundle(bundle, "cuda", precision)


def _best(bundle: Bundle, threads: int, precision: Precision) -> Backend:
    if cuda_devices():
        torch_runs = bundle.trust.trust_torchscript and find_spec("torch")
        name: BackendName = "torch-cuda" if torch_runs else "onnx-cuda"
        try:
            return load_backend(bundle, name, threads, precision)
        except BackendError as error:
            log.warning("there is a CUDA device, but %s cannot use it: %s", name, error)
    _check_float32("onnx, which auto chose", precision)
    return _on_cpu(bundle, threads)


def _check_float32(name: str, precision: Precision) -> None:
    if precision != "float32":
        raise BackendError(
            f"precision {precision} is for backend torch-cuda only; backend {name} has float32"
        )


def cuda_devices() -> int:
    """Return the number of CUDA devices according to the driver; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1" if os.name == "posix" else "nvcuda.dll")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def _on_cpu(bundle: Bundle, threads: int) -> OnnxBackend:
    """Return the onnx backend with so many threads.

    AUTO_THREADS doubles their number while a large batch then takes at most `_MAX_TIME_RATIO` of
    the time: small batches gain nothing from threads, and other processes need the cores, too.
    """
    if threads != AUTO_THREADS:
        return OnnxBackend.from_bundle(bundle, threads)
    chosen, count = OnnxBackend.from_bundle(bundle, 1), 2
    took_s = step_s(bundle.manifest, chosen, _MEASURED_ROWS)
    while count <= cores():
        wider = OnnxBackend.from_bundle(bundle, count)
        wider_s = step_s(bundle.manifest, wider, _MEASURED_ROWS)
        if wider_s > _MAX_TIME_RATIO * took_s:
            break
        chosen, took_s, count = wider, wider_s, 2 * count
    return chosen


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
