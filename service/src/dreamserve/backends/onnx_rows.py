"""onnxruntime with the dreams in the device's memory: what is served on CUDA without torch.

onnxruntime cannot index an array outside a graph, so gathering, scattering and the look for NaN
are small graphs of their own (`onnx_graphs`), bound to arrays on the device. A step is four runs:
gather, step, look, and later scatter. Each waits for the device, and noise is drawn on the host:
this saves the copies of states and mixtures, not the launches, which torch's recordings save too.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from dreamserve import noise
from dreamserve.backends.base import (
    Actions,
    Array,
    Bools,
    Int64,
    Staged,
    State,
    StepOutput,
    UInt64,
)
from dreamserve.backends.onnx import Device, OnnxBackend, open_session
from dreamserve.backends.onnx_graphs import gather_graph, lost_graph, scatter_graph
from dreamserve.errors import BackendError
from dreamserve.manifest import WorldSpec

Given = Any  # an array on the host, or an OrtValue on the device; onnxruntime has no types


class DeviceGraph:
    """A graph whose answers stay on the device until they are asked for."""

    def __init__(self, session: ort.InferenceSession, device: Device) -> None:
        self._session, self._device = session, device
        self._outputs = [node.name for node in session.get_outputs()]

    def run(self, given: Mapping[str, Given], into: Sequence[ort.OrtValue] = ()) -> list[Any]:
        """Return the outputs as OrtValues on the device, written `into` those arrays if given."""
        binding = self._session.io_binding()
        for name, value in given.items():
            if isinstance(value, np.ndarray):
                binding.bind_cpu_input(name, np.ascontiguousarray(value))
            else:
                binding.bind_ortvalue_input(name, value)
        for i, name in enumerate(self._outputs):
            if into:
                binding.bind_ortvalue_output(name, into[i])
            else:
                binding.bind_output(name, self._device)
        self._session.run_with_iobinding(binding)
        outputs: list[Any] = binding.get_outputs()
        return outputs


class OnnxStaged:
    """A staged step; its outputs are its own, and stay on the device."""

    def __init__(self, outputs: Sequence[Any], lost: Any, count: int) -> None:
        self.latent, self.reward, self.done_logit = (
            part.numpy()[:count].copy() for part in outputs[:3]
        )
        finite = np.isfinite(self.reward) & np.isfinite(self.done_logit)
        self.finite: Bools = finite & (lost.numpy()[:count] == 0)
        self.outputs, self.count = outputs, count

    def output(self) -> StepOutput:
        """Return all that the world answered, copied from the device now."""
        arrays = [part.numpy()[: self.count].copy() for part in self.outputs]
        latent, reward, done_logit, *rest = arrays
        return StepOutput(latent, reward, done_logit, tuple(rest[:-3]), *rest[-3:])


class OnnxRows:
    """`count` rows on a device, and one of scratch: for filling up, and for rows that went wrong.

    The scatter writes into the very slab that it reads; onnxruntime's kernels copy the slab only
    when the two differ.
    """

    def __init__(
        self, spec: WorldSpec, step: DeviceGraph, count: int, sizes: Sequence[int], device: Device
    ) -> None:
        self._spec, self._step, self._device = spec, step, device
        self._count, self._sizes = count, tuple(sizes)
        self._shapes = row_shapes(spec)
        self._gather, self._scatter, self._lost = (
            DeviceGraph(open_session(graph(self._shapes), 1, device), device)
            for graph in (gather_graph, scatter_graph, lost_graph)
        )
        try:
            self._slabs = [
                ort.OrtValue.ortvalue_from_numpy(np.zeros((count + 1, *shape), np.float32), device)
                for shape in self._shapes
            ]
            self._warm_up()
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            gib = (count + 1) * spec.state_bytes() / 2**30
            line = str(error).splitlines()[0]
            raise BackendError(
                f"{count} rows of {spec.state_bytes()} bytes ({gib:.3g} GiB) and steps of up to"
                f" {self._sizes[-1]} do not fit {device}: {line}"
            ) from error

    def read(self, slot: int) -> tuple[Array, State]:
        """Return copies of latent (1, Z) and state (1, *shape) each."""
        rows = self._gather.run(self._named("slab", self._slabs) | {"slots": np.array([slot])})
        latent, *state = (row.numpy().copy() for row in rows)
        return latent, tuple(state)

    def write(self, slots: Int64, latent: Array, state: State) -> None:
        """Overwrite the rows of `slots` (B,): latent (B, Z), state (B, *shape) each."""
        self._put(slots, (latent, *state))

    def stage(self, slots: Int64, action: Actions, keys: UInt64, temperature: Array) -> OnnxStaged:
        """Advance copies of B different rows by one step, and wait for the answers."""
        count = len(slots)
        missing = self._sizes[bisect_left(self._sizes, count)] - count
        size = self._spec.noise
        filled = _filled(slots, missing, self._count)
        rows = self._gather.run(self._named("slab", self._slabs) | {"slots": filled})
        given = {
            **_step_rows(self._spec, rows),
            "action": _filled(action, missing, 0),
            "temperature": _filled(temperature, missing, 1),
            "noise": _filled(noise.draw(keys, size.normal, size.uniform), missing, 0.5),
        }
        outputs = self._step.run(given)
        (lost,) = self._lost.run(self._named("row", _kept(outputs)))
        return OnnxStaged(outputs, lost, count)

    def commit(self, slots: Int64, staged: Staged, good: Bools, latent: Array | None) -> None:
        """Write the staged rows where `good` (B,), `latent` (B, Z) in place of theirs if given."""
        if not isinstance(staged, OnnxStaged):
            raise TypeError(f"{staged!r} was not staged by these rows")
        new: list[Given] = list(_kept(staged.outputs))
        missing = new[0].shape()[0] - len(slots)
        if latent is not None:
            new[0] = _filled(latent, missing, 0)
        self._put(_filled(np.where(good, slots, self._count), missing, self._count), new)

    def _put(self, slots: Int64, rows: Sequence[Given]) -> None:
        given = self._named("slab", self._slabs) | self._named("row", rows)
        self._scatter.run(given | {"slots": slots[:, None]}, into=self._slabs)

    def _named(self, name: str, values: Sequence[Given]) -> dict[str, Given]:
        return {f"{name}_{i}": value for i, value in enumerate(values)}

    def _warm_up(self) -> None:
        shape = () if self._spec.action_space.type == "Discrete" else self._spec.action_space.shape
        kind = np.float32 if shape else np.int64
        for size in self._sizes:
            slots, hot = np.full(size, self._count), np.ones(size, np.float32)
            keys, action = np.zeros(size, np.uint64), np.zeros((size, *shape), kind)
            self.stage(slots, action, keys, hot)


class OnnxDeviceBackend(OnnxBackend):
    """An OnnxBackend that keeps rows and looks ahead on its device (`KeepsRows`)."""

    _look: DeviceGraph | None = None  # made when it is first needed

    def rows(self, spec: WorldSpec, count: int, sizes: Sequence[int]) -> OnnxRows:
        """Return `count` rows of zeros. Raises BackendError when they do not fit."""
        return OnnxRows(spec, DeviceGraph(self._step, self.device), count, sizes, self.device)

    def returns(
        self,
        spec: WorldSpec,
        latent: Array,
        state: State,
        actions: Actions,
        keys: UInt64,
        temperature: float,
        discount: float,
    ) -> npt.NDArray[np.float64]:
        """Return what N futures earn, as `KeepsRows.returns` says: H runs, states staying there."""
        count, horizon = actions.shape[:2]
        step, look = DeviceGraph(self._step, self.device), self._look_of(spec)
        rows: Sequence[Given] = [np.repeat(part, count, axis=0) for part in (latent, *state)]
        hot = np.full(count, temperature, np.float32)
        values, weight = np.zeros(count), 1.0
        alive, finite = np.ones(count, np.bool_), np.ones(count, np.bool_)
        for t in range(horizon):
            drawn = noise.draw(keys[:, t].copy(), spec.noise.normal, spec.noise.uniform)
            numbers = np.broadcast_to(drawn, (count, drawn.shape[1]))
            given = {"action": actions[:, t], "temperature": hot, "noise": numbers}
            outputs = step.run(_step_rows(spec, rows) | given)
            rows = _kept(outputs)
            (lost,) = look.run({f"row_{i}": row for i, row in enumerate(rows)})
            reward, done_logit = outputs[1].numpy(), outputs[2].numpy()
            whole = np.isfinite(reward) & np.isfinite(done_logit) & (lost.numpy() == 0)
            finite &= whole | ~alive
            values += weight * np.where(alive & finite, reward, np.float32(0))
            weight *= discount
            alive &= ~(done_logit > spec.done.threshold)
            if not alive.any():
                break
        values[~finite] = -np.inf
        return values

    def _look_of(self, spec: WorldSpec) -> DeviceGraph:
        if self._look is None:
            session = open_session(lost_graph(row_shapes(spec)), 1, self.device)
            self._look = DeviceGraph(session, self.device)
        return self._look


def row_shapes(spec: WorldSpec) -> list[tuple[int, ...]]:
    """Return the shapes of a row's latent and recurrent tensors."""
    return [(spec.latent_size,), *(tensor.shape for tensor in spec.recurrent_state)]


def _step_rows(spec: WorldSpec, rows: Sequence[Given]) -> dict[str, Given]:
    names = ["latent", *(tensor.name for tensor in spec.recurrent_state)]
    return dict(zip(names, rows, strict=True))


def _kept(outputs: Sequence[Any]) -> list[Any]:
    """Return what of a step's outputs the next one takes: latent, states."""
    return [outputs[0], *outputs[3:-3]]


def _filled(rows: npt.NDArray[Any], missing: int, value: float) -> npt.NDArray[Any]:
    if not missing:
        return rows
    return np.concatenate([rows, np.full((missing, *rows.shape[1:]), value, rows.dtype)])
