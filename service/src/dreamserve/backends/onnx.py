"""onnxruntime: the default backend, on CPU or CUDA. Never imports torch.

On CPU its float32 kernels return the same bits for any batch size and number of threads, which
tests check. Weights stored as float16 behind Cast nodes become float32 once, at loading, by
constant folding, which is part of every optimisation level.
"""

from collections.abc import Mapping
from typing import Self

import onnxruntime as ort

from dreamserve.backends.base import (
    Actions,
    Array,
    State,
    StepInput,
    StepOutput,
    check_shapes,
    head_arrays,
)
from dreamserve.backends.check import check_backend
from dreamserve.backends.onnx_session import Device, misfits, open_session
from dreamserve.backends.trial import signature, try_graphs
from dreamserve.bundle import Bundle
from dreamserve.errors import BackendError, BundleError, Problems
from dreamserve.manifest import WorldSpec
from dreamserve.manifest_parts import GraphName
from dreamserve.trust import UNTRUSTED


class OnnxBackend:
    """The graphs as onnxruntime sessions; each is the bytes of an ONNX file.

    On CUDA every call copies its inputs to the device and its outputs back. Raises BundleError if
    a graph is not ONNX or does not fit the world's spec (names, ranks, sizes and types of inputs
    and outputs), BackendError if `device` is not available.
    """

    def __init__(
        self,
        spec: WorldSpec,
        graphs: Mapping[GraphName, bytes],
        threads: int = 1,
        device: Device = "cpu",
        max_graph_bytes: int = UNTRUSTED.max_graph_bytes,
    ) -> None:
        self.device, self.name = device, f"onnx-{device}"
        self.threads = threads
        self._names = {name: tuple(inputs) for name, inputs in spec.graph_inputs().items()}
        self._sessions, problems = {}, Problems()
        for name in self._names:
            with problems.collected():
                self._sessions[name] = _session(
                    spec, name, graphs[name], threads, device, max_graph_bytes
                )
        problems.raise_if_any()
        self._shapes = spec.graph_outputs()
        self._states, self._heads = len(spec.recurrent_state), head_arrays(spec)
        check_backend(spec, self)

    @classmethod
    def from_bundle(cls, bundle: Bundle, threads: int = 1, device: Device = "cpu") -> Self:
        """Load the graphs of `bundle`, once a process of their own has loaded and run them.

        Raises BundleError, BackendError.
        """
        try_graphs(bundle)
        return cls(
            bundle.manifest,
            {name: bundle.graph_bytes(name, "onnx") for name in bundle.manifest.graphs.by_name()},
            threads=threads,
            device=device,
            max_graph_bytes=bundle.trust.max_graph_bytes,
        )

    def encode(self, observations: Array, state: State = ()) -> tuple[Array, ...]:
        return tuple(self._run("encode", observations, *state))

    def decode(self, latent: Array) -> Array:
        return self._run("decode", latent)[0]

    def policy(self, latent: Array, state: State) -> Array:
        return self._run("policy", latent, *state)[0]

    def step(self, batch: StepInput) -> StepOutput:
        values = (batch.latent, batch.action, *batch.state, batch.temperature, batch.noise)
        return StepOutput.of(self._run("step", *values), self._states, self._heads)

    def _run(self, name: GraphName, *values: Array | Actions) -> list[Array]:
        feed = dict(zip(self._names[name], values, strict=True))
        outputs: list[Array] = self._sessions[name].run(None, feed)
        check_shapes(name, outputs, self._shapes[name], len(values[0]))
        return outputs


def _session(
    spec: WorldSpec, name: GraphName, content: bytes, threads: int, device: Device, max_bytes: int
) -> ort.InferenceSession:
    try:
        session = open_session(content, threads, device, max_bytes)
    except BackendError:
        raise
    except Exception as error:  # onnxruntime's own exceptions share no base but Exception
        line = str(error).splitlines()[0]
        raise BundleError(f"{spec.name}: graph {name} cannot be run: {line}") from error
    where, (inputs, outputs) = f"{spec.name}: graph {name}", signature(spec, name)
    problems = [
        *(f"{where}, inputs: {wrong}" for wrong in misfits(session.get_inputs(), inputs)),
        *(f"{where}, outputs: {wrong}" for wrong in misfits(session.get_outputs(), outputs)),
    ]
    if problems:
        raise BundleError(*problems)
    return session
