"""The torch device backend; a CPU is a device too, so all of it is tested."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamserve import noise
from dreamserve.backends import torch_noise
from dreamserve.backends.accuracy import measured_error
from dreamserve.backends.base import DeviceBackend, StepInput, StepOutput
from dreamserve.backends.fake import fake_spec
from dreamserve.backends.torch import TorchBackend
from dreamserve.bundle import load_bundle

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
    tensor = torch.tensor(given_keys.view(np.int64), device=device)
    drawn = torch_noise.draw(tensor, normal, uniform)
    assert drawn.dtype == torch.float32
    expected = noise.draw(given_keys, normal, uniform)
    assert drawn.cpu().numpy().tobytes() == expected.tobytes()


def test_a_device_backend_has_a_state_store_and_a_plain_one_does_not(tiny) -> None:
    assert isinstance(tiny.device, DeviceBackend)
    assert not isinstance(tiny.host, DeviceBackend)


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
    assert error.outputs <= bounds[precision]
    assert error.latent <= 2 * bounds[precision]
    assert error.other_components <= bounds[precision]
    if precision == "bf16":
        assert error.outputs > 1e-4  # it is measured


def test_a_step_uses_the_chosen_precision_and_restores_the_previous_one() -> None:
    seen: list[tuple[str, bool, bool]] = []

    def step(latent: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        cudnn = torch.backends.cudnn
        precision = torch.get_float32_matmul_precision()
        seen.append((precision, cudnn.deterministic, torch.is_autocast_enabled("cpu")))
        rest = list(fake_spec().graph_outputs()["step"].values())[1:]
        return (latent @ torch.ones(4, 4), *(torch.zeros(8, *shape) for shape in rest))

    latent = torch.ones(8, 4)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.deterministic
    for precision in ("float32", "tf32", "bf16"):
        backend = TorchBackend(fake_spec(), {"step": step}, precision=precision)
        assert {part.dtype for part in backend.step_tensors(latent)} == {torch.float32}
    assert seen == [("highest", True, False), ("high", True, False), ("highest", True, True)]
    assert before == (torch.get_float32_matmul_precision(), torch.backends.cudnn.deterministic)


def test_measured_error_detects_non_finite_outputs(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    reference = TorchBackend.from_bundle(bundle)

    class Broken(TorchBackend):
        def step(self, batch: StepInput) -> StepOutput:
            return replace(reference.step(batch), reward=np.full(1024, np.nan, np.float32))

    broken: Callable[..., TorchBackend] = Broken
    assert measured_error(bundle.manifest, reference, broken(bundle.manifest, {})).outputs == np.inf
