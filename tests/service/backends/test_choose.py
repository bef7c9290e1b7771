"""The choice of the backend, and of the number of threads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamserve.backends import choose
from dreamserve.backends.base import Backend
from dreamserve.backends.check import dummy_input
from dreamserve.bundle import Bundle, load_bundle
from dreamserve.errors import BackendError
from dreamserve.manifest import WorldSpec
from dreamserve.trust import Trust

TRUSTED = Trust(trust_torchscript=True)


def threads_of(backend: Backend) -> int:
    options = backend._sessions["step"].get_session_options()  # type: ignore[attr-defined]
    return int(options.intra_op_num_threads)


def test_auto_is_onnxruntime_on_the_cpu_where_there_is_no_cuda_device(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "cuda_devices", lambda: 0)
    assert choose.load_backend(load_bundle(tiny_bundle)).name == "onnx-cpu"


@pytest.mark.parametrize(("torch", "wanted"), [(True, "torch-cuda"), (False, "onnx-cuda")])
def test_auto_falls_back_with_a_warning_if_the_device_cannot_be_used(
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    torch: bool,
    wanted: str,
) -> None:
    if choose.cuda_devices():
        pytest.skip("there is a CUDA device")
    monkeypatch.setattr(choose, "cuda_devices", lambda: 1)
    monkeypatch.setattr(choose, "find_spec", lambda name: torch or None)
    assert choose.load_backend(load_bundle(tiny_bundle, TRUSTED)).name == "onnx-cpu"
    assert f"there is a CUDA device, but {wanted} cannot use it" in caplog.text


@pytest.mark.parametrize(
    ("initialised", "counted", "devices"), [(0, 0, 2), (100, 0, 0), (0, 100, 0)]
)
def test_the_driver_says_how_many_cuda_devices_there_are(
    monkeypatch: pytest.MonkeyPatch, initialised: int, counted: int, devices: int
) -> None:
    class Driver:
        def __init__(self, name: str) -> None:
            assert "cuda" in name

        def cuInit(self, flags: int) -> int:  # the driver's own name
            return initialised

        def cuDeviceGetCount(self, count: Any) -> int:
            count._obj.value = 2
            return counted

    monkeypatch.setattr(choose.ctypes, "CDLL", Driver)
    assert choose.cuda_devices() == devices


def test_without_a_driver_there_is_no_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(choose.ctypes, "CDLL", missing)
    assert choose.cuda_devices() == 0


@pytest.mark.parametrize("name", ["onnx-cuda", "torch-cuda"])
def test_a_requested_device_that_is_missing_is_refused(tiny_bundle: Path, name: str) -> None:
    if choose.cuda_devices():
        pytest.skip("there is a CUDA device")
    with pytest.raises(BackendError, match="CUDA"):
        choose.load_backend(load_bundle(tiny_bundle, TRUSTED), name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cores", "seconds", "chosen"),
    [
        (1, {}, 1),
        (2, {1: 1.0, 2: 0.74}, 2),
        (2, {1: 1.0, 2: 0.76}, 1),
        (8, {1: 1.0, 2: 0.6, 4: 0.4, 8: 0.35}, 4),
        (3, {1: 1.0, 2: 0.6}, 2),
    ],
)
def test_threads_are_added_while_they_make_steps_faster(
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    seconds: dict[int, float],
    chosen: int,
) -> None:
    def step_s(_: WorldSpec, backend: Backend, rows: int) -> float:
        return seconds.get(threads_of(backend), 1.0)

    monkeypatch.setattr(choose, "cores", lambda: cores)
    monkeypatch.setattr(choose, "step_s", step_s)
    backend = choose.load_backend(load_bundle(tiny_bundle), "onnx", choose.AUTO_THREADS)
    assert threads_of(backend) == chosen


def test_a_given_number_of_threads_is_used(tiny_bundle: Path) -> None:
    assert threads_of(choose.load_backend(load_bundle(tiny_bundle), "onnx", 3)) == 3


@pytest.mark.parametrize("rows", [1, 5, 64, 256])
def test_any_number_of_threads_gives_the_same_bits(takecover: Bundle, rows: int) -> None:
    batch = dummy_input(takecover.manifest, rows)
    generator = np.random.default_rng(rows)
    for array in (batch.latent, *batch.state, batch.noise):
        array[:] = generator.standard_normal(array.shape)
    answers = [choose.load_backend(takecover, "onnx", threads).step(batch) for threads in (1, 2, 3)]
    for other in answers[1:]:
        assert other.latent.tobytes() == answers[0].latent.tobytes()
        for one, two in zip(other.state, answers[0].state, strict=True):
            assert one.tobytes() == two.tobytes()


@pytest.fixture
def takecover() -> Bundle:
    path = Path(__file__).parents[3] / "bundles" / "takecover"
    if not path.is_dir():
        pytest.skip("bundles/takecover is not there")
    return load_bundle(path)
