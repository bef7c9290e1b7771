"""The tiny bundle and the fake world on torch's device backend."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.backends.fake import FakeBackend, fake_spec
from dreamserve.backends.torch import TorchBackend
from dreamserve.backends.torch_device import TorchDeviceBackend
from dreamserve.bundle import load_bundle
from dreamserve.manifest import WorldSpec
from dreamserve.spaces import ActionSpace


@dataclass
class Tiny:
    """The tiny bundle twice: with state on the host, and on a device."""

    spec: WorldSpec
    host: TorchBackend
    device: TorchDeviceBackend

    def same(self, one: np.ndarray, other: np.ndarray) -> None:
        """Compare bit for bit on a CPU; CUDA's matrix kernels differ in the last bits."""
        if self.device.device.type == "cpu":
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def tiny(request: pytest.FixtureRequest, tiny_bundle: Path) -> Tiny:
    """Return the tiny bundle on each device in turn."""
    bundle = load_bundle(tiny_bundle)
    device = TorchDeviceBackend.from_bundle(bundle, request.param)
    return Tiny(bundle.manifest, TorchBackend.from_bundle(bundle), device)


def _arrays_of(output: StepOutput) -> list[np.ndarray]:
    return list(output.arrays())


def _fake_device(
    nan_action: int | None = None, space: ActionSpace | None = None, **fields: Any
) -> TorchDeviceBackend:
    """Return the fake world on tensors: scalar state, any actions, and rows that become NaN."""
    spec = fake_spec(space=space, **fields)
    fake = FakeBackend(spec, nan_action=nan_action)

    def step(latent, action, memory, n, temperature, numbers):
        arrays = (part.numpy() for part in (latent, action, memory, n, temperature, numbers))
        latent, action, memory, n, temperature, numbers = arrays
        with np.errstate(invalid="ignore"):
            output = fake.step(StepInput(latent, action, (memory, n), temperature, numbers))
        return tuple(torch.tensor(part) for part in _arrays_of(output))

    return TorchDeviceBackend(spec, {"step": step}, "cpu")


@pytest.fixture
def fake_device() -> Callable[..., TorchDeviceBackend]:
    """Return a factory of device backends of the fake world, with any space or a NaN action."""
    return _fake_device


@pytest.fixture
def arrays_of() -> Callable[[StepOutput], list[np.ndarray]]:
    """Return a function that lists a step's outputs in the manifest's order."""
    return _arrays_of
