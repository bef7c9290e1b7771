"""Work on a device that is asked for again and again: its inputs' memory, and its recording.

On CUDA the work is recorded once as a CUDA graph and then replayed, which costs the host one call
instead of one a kernel. On a CPU the same function runs as it is.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from math import prod
from threading import Lock
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor
from torch.jit._fuser import optimized_execution  # torch.jit's own, where it does not say so

from dreamserve.errors import BackendError

# What an array to be sent looks like: its shape, its dtype.
Layout = Mapping[str, tuple[tuple[int, ...], torch.dtype]]

_ALIGNED_BYTES = 16
# cuBLAS sets up its workspace in the first run, TorchScript's own compiler is done after three.
_WARM_UPS = 4
# A process may record one graph at a time.
_RECORDING = Lock()


class Parcel:
    """Arrays that travel to the device together, in one copy out of pinned memory.

    Fill `host`, then `send`; `device` are the tensors, which stay where they are. Do not fill
    again before the device has passed the copy.
    """

    def __init__(self, layout: Layout, device: torch.device) -> None:
        places, end = {}, 0
        for name, (shape, dtype) in layout.items():
            size = prod(shape) * dtype.itemsize
            places[name] = end, end + size
            end += -(-size // _ALIGNED_BYTES) * _ALIGNED_BYTES
        pinned = device.type == "cuda"
        self._here = torch.zeros(end, dtype=torch.uint8, pin_memory=pinned)
        self._there = torch.zeros(end, dtype=torch.uint8, device=device)

        def views(whole: Tensor) -> dict[str, Tensor]:
            return {
                name: whole[slice(*places[name])].view(dtype).view(shape)
                for name, (shape, dtype) in layout.items()
            }

        self.device = views(self._there)
        self.host: dict[str, npt.NDArray[Any]] = {
            name: part.numpy() for name, part in views(self._here).items()
        }

    def send(self) -> None:
        """Begin the copy on the current stream."""
        self._there.copy_(self._here, non_blocking=True)


class Recorder:
    """Records work on one device, all of it on `stream` (None on a CPU), in one pool of memory.

    Recordings of one recorder share their scratch memory: what one has answered is valid until
    any of them runs again. `fused` lets TorchScript compile kernels of its own; without it the
    recording holds torch's kernels, those that run without a recording too.
    """

    def __init__(
        self,
        device: torch.device,
        stream: torch.cuda.Stream | None,
        recorded: bool = True,
        fused: bool = False,
    ) -> None:
        self.device, self.stream, self._fused = device, stream, fused
        self._recorded = recorded and device.type == "cuda"
        self._pool: Any = torch.cuda.graph_pool_handle() if self._recorded else None

    @contextmanager
    def work(self) -> Iterator[None]:
        """Put what is asked of the device onto the recorder's stream."""
        with torch.inference_mode(), self._on_stream():
            yield

    def wait(self) -> None:
        """Wait for the recorder's stream."""
        if self.stream is not None:
            self.stream.synchronize()

    def record(self, work: Callable[[], tuple[Tensor, ...]]) -> Callable[[], tuple[Tensor, ...]]:
        """Return what does `work` again, to be called within `work()`.

        `work` must read its inputs from tensors that stay where they are, and neither wait for the
        device nor look at its data.
        """
        if not self._recorded:
            return lambda: self._plainly(work)
        graph = torch.cuda.CUDAGraph()
        with _RECORDING, torch.cuda.device(self.device), self.work():
            for _ in range(_WARM_UPS):
                self._plainly(work)
            self.wait()
            # thread_local: other threads may go on using CUDA meanwhile.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self.stream, capture_error_mode="thread_local"
            ):
                outputs = self._plainly(work)

        def replay() -> tuple[Tensor, ...]:
            graph.replay()
            return outputs

        return replay

    def _plainly(self, work: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        # TorchScript's executor would look at the first runs and then compile kernels for their
        # very shapes: other numbers than before, and a compilation amid a recording.
        with optimized_execution(self._fused):
            return work()

    def _on_stream(self) -> Any:
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)


def side_stream(device: torch.device) -> torch.cuda.Stream | None:
    """Return a stream to record on, behind what the device was asked before; None for a CPU."""
    if device.type != "cuda":
        return None
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch does not say
    stream.wait_stream(torch.cuda.current_stream(device))
    return stream


@contextmanager
def refused_if_full(what: str, device: torch.device) -> Iterator[None]:
    """Turn running out of the device's memory into a BackendError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        line = str(error).splitlines()[0]
        raise BackendError(f"{what} do not fit {device}: {line}") from error


def check_room(what: str, needed_bytes: int, device: torch.device) -> None:
    """Raise BackendError when the device has less than `needed_bytes` of memory free."""
    free = free_bytes(device)
    if free is not None and needed_bytes > free:
        raise BackendError(
            f"{what} take {needed_bytes / 2**30:.3g} GiB,"
            f" and {device} has {free / 2**30:.3g} GiB free"
        )


def free_bytes(device: torch.device) -> int | None:
    """Return the bytes of memory that are free on a CUDA device; None for a CPU, which swaps."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free) + int(unused)
