"""torch with the dreams on its device: on a CPU all but the recordings, which want CUDA."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamserve import noise
from dreamserve.backends.accuracy import measured_error
from dreamserve.backends.base import KeepsRows, StepInput, StepOutput
from dreamserve.backends.torch import TorchBackend
from dreamserve.backends.torch_device import TorchDeviceBackend
from dreamserve.backends.torch_noise import Noise
from dreamserve.backends.torch_record import Parcel
from dreamserve.bundle import load_bundle

CPU = torch.device("cpu")
COUNT = 20
on_cuda = pytest.mark.gpu


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_cuda)])
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=9),
    st.integers(0, 37),
    st.integers(0, 9),
)
def test_noise_is_the_services_to_the_bit(
    device: str, keys: list[int], normal: int, uniform: int
) -> None:
    given_keys = np.array(keys, np.uint64)
    drawn = Noise(normal, uniform, torch.device(device)).draw(
        torch.tensor(given_keys.view(np.int64), device=device)
    )
    assert drawn.dtype == torch.float32
    expected = noise.draw(given_keys, normal, uniform)
    assert drawn.cpu().numpy().tobytes() == expected.tobytes()


def test_a_device_backend_keeps_rows_and_a_plain_one_does_not(tiny) -> None:
    assert isinstance(tiny.device, KeepsRows)
    assert not isinstance(tiny.host, KeepsRows)


def test_a_parcel_holds_what_was_put_in_when_it_is_sent() -> None:
    layout = {
        "small": ((3,), torch.float32),
        "wide": ((2, 2), torch.int64),
        "none": ((0, 5), torch.float32),
    }
    parcel = Parcel(layout, CPU)
    parcel.host["small"][:], parcel.host["wide"][:] = [1, 2, 3], [[4, 5], [6, 7]]
    assert not parcel.device["wide"].any()
    parcel.send()
    assert parcel.device["small"].tolist() == [1, 2, 3]
    assert parcel.device["wide"].tolist() == [[4, 5], [6, 7]]
    assert parcel.device["none"].shape == (0, 5)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_cuda)])
def test_a_precision_is_named_and_its_error_measured(
    tiny_bundle: Path, device: str, precision: str
) -> None:
    bundle = load_bundle(tiny_bundle)
    reference = TorchBackend.from_bundle(bundle)
    other = TorchBackend.from_bundle(bundle, device, precision)
    assert other.name == f"torch-{device}" + ("" if precision == "float32" else f"-{precision}")
    before = torch.get_float32_matmul_precision()
    error = measured_error(bundle.manifest, reference, other)
    assert torch.get_float32_matmul_precision() == before
    bounds = {"float32": 1e-4, "tf32": 1e-2, "bf16": 0.2}
    assert error.answers <= bounds[precision]
    assert error.latent <= 2 * bounds[precision]
    assert error.other_draws <= bounds[precision]
    if precision == "bf16":
        assert error.answers > 1e-4  # it is measured


def test_measured_error_sees_what_is_not_finite(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    reference = TorchBackend.from_bundle(bundle)

    class Broken(TorchBackend):
        def step(self, batch: StepInput) -> StepOutput:
            return replace(reference.step(batch), reward=np.full(1024, np.nan, np.float32))

    def never(_: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    broken: Callable[..., TorchBackend] = Broken
    assert measured_error(bundle.manifest, reference, broken(never, never, never)).answers == np.inf


def random_rows(rng: np.random.Generator, count: int) -> tuple[np.ndarray, ...]:
    return (
        rng.permutation(COUNT)[:count],
        rng.integers(0, 3, count),
        rng.integers(0, 2**64, count, np.uint64),
        rng.uniform(0, 2, count).astype(np.float32),
    )


@on_cuda
@pytest.mark.parametrize("fused", [False, True])
def test_a_recording_answers_as_its_kernels_do(tiny_bundle: Path, fused: bool) -> None:
    bundle = load_bundle(tiny_bundle)
    backend = TorchDeviceBackend.from_bundle(bundle, "cuda")
    backend.fused = fused
    recorded = backend.rows(bundle.manifest, COUNT, (4, 16))
    backend.recorded = False
    plain = backend.rows(bundle.manifest, COUNT, (4, 16))
    rng = np.random.default_rng(8)
    for count in (3, 16, 4, 9):
        step = random_rows(rng, count)
        one, other = recorded.stage(*step), plain.stage(*step)
        if fused:
            np.testing.assert_allclose(one.latent, other.latent, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(one.latent, other.latent)
        for rows, staged in ((recorded, one), (plain, other)):
            rows.commit(step[0], staged, staged.finite, None)


@on_cuda
def test_fused_noise_is_what_cuda_runs() -> None:
    assert Noise(4, 1, torch.device("cuda"))._fused is not None
