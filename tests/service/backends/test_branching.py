"""Forks, rewinds and snapshots with state on a device equal those on the host."""

from pathlib import Path

import numpy as np
import pytest

from dreamserve.backends.base import DeviceBackend
from dreamserve.backends.onnx import OnnxBackend
from dreamserve.backends.torch_device import TorchDeviceBackend
from dreamserve.bundle import load_bundle
from dreamserve.engine.world import World
from dreamserve.local import LocalClient

ON = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=ON)
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def dream(tiny_bundle: Path, device: str) -> LocalClient:
    """Return a dream of the tiny bundle on a device."""
    bundle = load_bundle(tiny_bundle)
    backend = TorchDeviceBackend.from_bundle(bundle, device=device)
    assert isinstance(backend, DeviceBackend)
    world = World(bundle.manifest, backend, bundle.bank, manifest=bundle.manifest)
    return LocalClient(world, capacity=20, max_batch=4)


def test_forks_and_rewinds_are_exact(dream: LocalClient) -> None:
    dream.reset(session_id="a", seed=3, rewind_window=4)
    dream.reset(session_id="beside", seed=4)
    answers = [
        dream.step(session_id="a", action=action, step=i + 1) for i, action in enumerate((1, 2, 0))
    ]
    names = [f"fork{i}" for i in range(7)]
    dream.fork(session_id="a", session_ids=names, seeds=[3] * 6 + [5])
    latents = dream.step_batch(["a", "beside", *names], np.ones(9, np.int64)).latents
    assert len({latents[i].tobytes() for i in (0, *range(2, 8))}) == 1
    assert latents[8].tobytes() != latents[0].tobytes()
    for name in ("a", "fork2"):
        assert dream.rewind(session_id=name, to_step=1).rewindable_to == 0
        for step, action in ((2, 2), (3, 0)):
            again = dream.step(session_id=name, action=action, step=step)
            assert again.latent.tobytes() == answers[step - 1].latent.tobytes()
            assert again.reward == answers[step - 1].reward


def test_a_snapshot_moves_between_a_device_and_the_host(
    dream: LocalClient, tiny_bundle: Path, device: str
) -> None:
    bundle = load_bundle(tiny_bundle)
    backend = OnnxBackend.from_bundle(bundle)
    host = LocalClient(World(bundle.manifest, backend, bundle.bank, manifest=bundle.manifest))
    dream.reset(session_id="a", seed=3)
    dream.step(session_id="a", action=1, observation=np.full(4, 0.5, np.float32))
    snapshot = dream.snapshot("a")
    host.restore("a", snapshot)
    assert host.snapshot("a").digest == snapshot.digest
    dream.restore("b", host.snapshot("a"))
    assert dream.snapshot("b").digest == snapshot.digest
    one, other, on_host = (
        client.step(session_id=name, action=2).latent
        for client, name in ((dream, "a"), (dream, "b"), (host, "a"))
    )
    assert one.tobytes() == other.tobytes()
    np.testing.assert_allclose(one, on_host, rtol=1e-4, atol=1e-5)
