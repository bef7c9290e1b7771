"""Two backends of a bundle agree, rows are independent, and what does not fit is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dreamserve import noise
from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.backends.check import check_backend, dummy_input
from dreamserve.backends.fake import FakeBackend, fake_spec
from dreamserve.backends.onnx import OnnxBackend
from dreamserve.backends.torch import TorchBackend
from dreamserve.bundle import Bundle, load_bundle
from dreamserve.engine.world import World
from dreamserve.errors import BackendError, BundleError
from dreamserve.loading import load_world
from dreamserve.local import LocalClient
from dreamserve.trust import Trust
from dreamserve_protocol.errors import EngineFailedError

TRUSTED = Trust(trust_torchscript=True)


def batch_for(world: World, rows: int) -> StepInput:
    generator = np.random.default_rng(11)
    spec = world.spec

    def numbers(*shape: int) -> np.ndarray:
        return generator.standard_normal((rows, *shape)).astype(np.float32)

    keys = noise.keys(np.arange(rows, dtype=np.uint64), np.zeros(rows, np.int64), noise.STEP)
    space = spec.action_space
    return StepInput(
        latent=numbers(spec.latent_size),
        action=space.uniform(generator.random((rows, *space.shape), np.float32)),
        state=tuple(np.tanh(numbers(*tensor.shape)) for tensor in spec.recurrent_state),
        temperature=np.linspace(0, 2, rows, dtype=np.float32),
        noise=noise.draw(keys, spec.noise.normal, spec.noise.uniform),
    )


def rows_of(batch: StepInput, rows: slice) -> StepInput:
    return StepInput(
        batch.latent[rows].copy(),
        batch.action[rows].copy(),
        tuple(part[rows].copy() for part in batch.state),
        batch.temperature[rows].copy(),
        batch.noise[rows].copy(),
    )


def arrays_of(output: StepOutput) -> list[np.ndarray]:
    return list(output.arrays())


def test_a_row_is_the_same_to_the_bit_in_a_batch_of_any_size(any_world: World) -> None:
    batch = batch_for(any_world, 130)
    whole = arrays_of(any_world.backend.step(batch))
    for size in (1, 2, 3, 5, 8, 13, 64, 100):
        for start in (0, 130 - size):
            rows = slice(start, start + size)
            for one, all_of_it in zip(
                arrays_of(any_world.backend.step(rows_of(batch, rows))), whole, strict=True
            ):
                np.testing.assert_array_equal(one, all_of_it[rows])


def test_a_frame_is_the_same_to_the_bit_in_a_batch_of_any_size(any_world: World) -> None:
    frames = np.random.default_rng(0).random((20, *any_world.spec.observation.shape), np.float32)
    mu, logvar = any_world.backend.encode(frames)
    shown = any_world.backend.decode(mu)
    for size in (1, 2, 7, 16):
        part = any_world.backend.encode(frames[:size])
        np.testing.assert_array_equal(part[0], mu[:size])
        np.testing.assert_array_equal(part[1], logvar[:size])
        np.testing.assert_array_equal(any_world.backend.decode(mu[:size]), shown[:size])


def test_onnx_outputs_are_the_same_bits_with_any_number_of_threads(tiny_bundle: Path) -> None:
    one, two = load_world(tiny_bundle, "onnx", 1), load_world(tiny_bundle, "onnx", 2)
    batch = batch_for(one, 64)
    for a, b in zip(
        arrays_of(one.backend.step(batch)), arrays_of(two.backend.step(batch)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_the_two_backends_of_a_bundle_agree(tiny_bundle: Path) -> None:
    onnx_world, torch_world = (
        load_world(tiny_bundle, name, trust=TRUSTED) for name in ("onnx", "torch")
    )
    batch = batch_for(onnx_world, 33)
    for a, b in zip(
        arrays_of(onnx_world.backend.step(batch)),
        arrays_of(torch_world.backend.step(batch)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    frames = np.random.default_rng(0).random((3, *onnx_world.spec.observation.shape), np.float32)
    mu = onnx_world.backend.encode(frames)[0]
    np.testing.assert_allclose(mu, torch_world.backend.encode(frames)[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        onnx_world.backend.decode(mu), torch_world.backend.decode(mu), rtol=1e-4, atol=1e-6
    )


def test_the_torch_backend_serves_plain_callables_on_tensors() -> None:
    fake = FakeBackend(fake_spec())

    def step(latent, action, memory, n, temperature, numbers):
        batch = StepInput(
            latent.numpy(),
            action.numpy(),
            (memory.numpy(), n.numpy()),
            temperature.numpy(),
            numbers.numpy(),
        )
        import torch

        return tuple(torch.from_numpy(part) for part in arrays_of(fake.step(batch)))

    spec = fake_spec()
    world = World(spec, TorchBackend(spec, {"step": step}))
    batch = batch_for(world, 5)
    for a, b in zip(arrays_of(world.backend.step(batch)), arrays_of(fake.step(batch)), strict=True):
        np.testing.assert_array_equal(a, b)


def parts_of(bundle: Bundle) -> dict[str, bytes]:
    return {name: bundle.graph_bytes(name, "onnx") for name in ("encode", "step", "decode")}


def test_swapped_onnx_graphs_are_refused(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    parts = parts_of(bundle)
    parts["encode"], parts["decode"] = parts["decode"], parts["encode"]
    with pytest.raises(BundleError, match=r"tiny: graph encode, inputs: must be \('frames',\)"):
        OnnxBackend(bundle.manifest, parts)


def edited(content: bytes, edit: Callable[[onnx.ModelProto], None]) -> bytes:
    model = onnx.load_from_string(content)
    edit(model)
    return model.SerializeToString()


def fix_the_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def widen_an_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 9


def take_float_actions(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def swap_two_outputs(model: onnx.ModelProto) -> None:
    outputs = [model.graph.output[i] for i in (0, 2, 1, 3, 4, 5, 6, 7)]
    kept = [onnx.ValueInfoProto.FromString(o.SerializeToString()) for o in outputs]
    del model.graph.output[:]
    model.graph.output.extend(kept)


@pytest.mark.parametrize(
    "edit", [fix_the_batch, widen_an_input, take_float_actions, swap_two_outputs]
)
def test_a_graph_that_differs_from_the_manifest_is_refused(
    tiny_bundle: Path, edit: Callable[[onnx.ModelProto], None]
) -> None:
    bundle = load_bundle(tiny_bundle)
    parts = parts_of(bundle)
    with pytest.raises(BundleError, match="tiny: graph step"):
        OnnxBackend(bundle.manifest, {**parts, "step": edited(parts["step"], edit)})


def test_bytes_that_are_no_graph_are_refused(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    with pytest.raises(BundleError, match="graph decode cannot be run"):
        OnnxBackend(bundle.manifest, {**parts_of(bundle), "decode": b"nothing"})


def test_a_graph_that_gives_nan_for_zeros_is_refused(tiny_bundle: Path) -> None:
    def poison(model: onnx.ModelProto) -> None:
        (half,) = (i for i in model.graph.initializer if i.name == "show_half")
        half.CopyFrom(numpy_helper.from_array(np.full((4, 48), np.nan, np.float16), half.name))

    bundle = load_bundle(tiny_bundle)
    parts = parts_of(bundle)
    with pytest.raises(BundleError, match=r"graph decode: frames holds NaN"):
        OnnxBackend(bundle.manifest, {**parts, "decode": edited(parts["decode"], poison)})


def test_swapped_torchscript_graphs_are_refused(
    tiny_bundle: Path, rewrite: Callable[..., Path]
) -> None:
    encode, decode = (tiny_bundle / "encode.pt"), (tiny_bundle / "decode.pt")
    contents = encode.read_bytes(), decode.read_bytes()
    decode.write_bytes(contents[0])
    encode.write_bytes(contents[1])
    with pytest.raises(
        BundleError, match="tiny: graph encode fails on 1 rows, on the torch-cpu backend"
    ):
        load_world(rewrite(tiny_bundle), "torch", trust=TRUSTED)


def test_bytes_that_are_no_torchscript_are_refused(
    tiny_bundle: Path, rewrite: Callable[..., Path]
) -> None:
    (tiny_bundle / "step.pt").write_bytes(b"nothing")
    with pytest.raises(BundleError, match="step is not TorchScript"):
        load_world(rewrite(tiny_bundle), "torch", trust=TRUSTED)


def test_a_missing_device_is_reported(tiny_bundle: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    bundle = load_bundle(tiny_bundle)
    with pytest.raises(BackendError, match="no CUDA device"):
        TorchBackend.from_bundle(bundle, "cuda")


def test_an_unknown_backend_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(BackendError, match="known: auto, onnx, torch, onnx-cuda, torch-cuda"):
        load_world(tiny_bundle, "tensorflow")


def test_an_output_of_another_shape_is_refused() -> None:
    class Wide(FakeBackend):
        def step(self, batch: StepInput) -> StepOutput:
            output = super().step(batch)
            return replace(output, reward=output.reward[:, None])

    with pytest.raises(BundleError, match=r"fake: graph step: reward must be \(1,\), is \(1, 1\)"):
        check_backend(fake_spec(), Wide(fake_spec()))


def test_an_output_of_another_type_is_refused() -> None:
    class Wide(FakeBackend):
        def decode(self, latent: np.ndarray) -> np.ndarray:
            return super().decode(latent).astype(np.float64)

    with pytest.raises(BundleError, match=r"decode: frames must be float32, is float64"):
        check_backend(fake_spec(), Wide(fake_spec()))


class Shrinking:
    """Runs a graph's session, whose rewards lose their last row while `shrinks`."""

    def __init__(self, session: Any) -> None:
        self._session, self.shrinks = session, False

    def run(self, names: None, feed: Any) -> list[np.ndarray]:
        latent, reward, *rest = self._session.run(names, feed)
        return [latent, reward[:-1] if self.shrinks else reward, *rest]


def test_a_step_whose_outputs_change_their_shape_is_taken_by_no_session(tiny_bundle: Path) -> None:
    """It was taken and answered with 500; sent again, it had the reward of another step."""
    world = load_world(tiny_bundle, "onnx")
    backend: Any = world.backend
    shrinking = backend._sessions["step"] = Shrinking(backend._sessions["step"])
    shrinking.shrinks = True
    with pytest.raises(BackendError, match=r"graph step returned reward \(2,\), not \(3,\)"):
        backend.step(batch_for(world, rows=3))
    client = LocalClient(world)
    client.reset(session_id="a", seed=1)
    before = client.snapshot(session_id="a")
    with pytest.raises(EngineFailedError):
        client.step(session_id="a", action=1, step=1)
    assert client.session(session_id="a").step == 0
    assert client.snapshot(session_id="a").state.keys() == before.state.keys()
    shrinking.shrinks = False
    undisturbed = LocalClient(load_world(tiny_bundle, "onnx"))
    undisturbed.reset(session_id="a", seed=1)
    taken, expected = (
        each.step(session_id="a", action=1, step=1) for each in (client, undisturbed)
    )
    assert (taken.step, taken.reward) == (1, expected.reward)
    np.testing.assert_array_equal(taken.latent, expected.latent)


def test_callables_of_torch_whose_outputs_have_another_shape_are_refused_too() -> None:
    spec = fake_spec()
    shapes = list(spec.graph_outputs()["step"].values())

    def step(latent: Any, *_: Any) -> tuple[Any, ...]:
        import torch

        rows = [len(latent), 1, *[len(latent)] * len(shapes)]
        return tuple(torch.zeros(n, *shape) for n, shape in zip(rows, shapes, strict=False))

    batch = dummy_input(spec, 3)
    with pytest.raises(BackendError, match=r"graph step returned reward \(1,\), not \(8,\)"):
        TorchBackend(spec, {"step": step}).step(batch)


def test_onnxruntime_prints_nothing_beside_its_exceptions(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its lines would be none of the log's, which may be JSON."""
    world = load_world(tiny_bundle, "onnx")
    batch = batch_for(world, rows=3)
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        world.backend.step(replace(batch, action=batch.action[:2]))
    assert capfd.readouterr().err == ""
