"""`dreamserve doctor` prints a line for each check, and fails if there is a problem."""

import re
import socket
import sys
from importlib.metadata import PackageNotFoundError

import onnxruntime
import pytest

from dreamserve import __version__
from dreamserve.cli import diagnosis


def statuses(out: str) -> dict[str, str]:
    """Return each check's status by its subject."""
    rows = re.findall(r"^(ok|warning|problem) +(\S+)", out, re.MULTILINE)
    return {subject: status for status, subject in rows}


def test_where_all_is_well_every_line_is_ok_and_the_status_0(run, tiny_bundle) -> None:
    done = run("doctor", tiny_bundle, "--port", "0")
    assert (done.status, done.err) == (0, "")
    found = statuses(done.out)
    assert set(found.values()) == {"ok"}
    checks = ["dreamserve", "machine", "onnxruntime", "torch", "devices", "settings", "port"]
    assert list(found) == [*checks, "store", "bundle", "steps/s"]
    message = " ".join(done.out.split())
    assert f"dreamserve {__version__}, Python" in message
    assert f"onnxruntime {onnxruntime.__version__}" in message
    assert re.search(r"[\d,]+ in batches of 1, [\d,]+ in batches of 64, [\d,]+ in batches", message)


def test_a_taken_port_is_a_problem_that_does_not_end_the_checks(run, tiny_bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("doctor", tiny_bundle, "--port", port)
    assert done.status == 1
    found = statuses(done.out)
    assert (found["port"], found["steps/s"]) == ("problem", "ok")
    assert f"port {port}: Address already in use; stop the other" in " ".join(done.out.split())


def test_each_bundle_is_checked_whatever_the_one_before_it(run, tiny_bundle, tmp_path) -> None:
    done = run("doctor", tmp_path / "nowhere", tiny_bundle, "--port", "0")
    assert done.status == 1
    assert re.findall(r"^(\w+) +(?:bundle|steps/s)", done.out, re.M) == ["problem", "ok", "ok"]


def test_without_a_bundle_it_says_how_to_name_one(run) -> None:
    done = run("doctor", "--port", "0")
    assert done.status == 0
    assert statuses(done.out)["bundle"] == "warning"
    assert "dreamserve doctor PATH/TO/BUNDLE" in " ".join(done.out.split())


def test_a_machine_without_torch_is_well(run, monkeypatch) -> None:
    def not_installed(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(diagnosis, "version", not_installed)
    done = run("doctor", "--port", "0")
    assert (done.status, statuses(done.out)["torch"]) == (0, "ok")
    assert "pip install 'dreamserve[torch]'" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("in_torch", "providers", "status", "message"),
    [
        (True, [], "ok", "2 CUDA devices: backend torch-cuda, with --trust-torchscript"),
        (False, ["CUDAExecutionProvider"], "ok", "2 CUDA devices: backend onnx-cuda"),
        (False, [], "warning", "neither torch nor onnxruntime can use: install a CUDA build"),
    ],
)
def test_a_device_is_ok_only_if_a_backend_can_use_it(
    run, monkeypatch, in_torch, providers, status, message
) -> None:
    monkeypatch.setattr(diagnosis, "cuda_devices", lambda: 2)
    monkeypatch.setattr(diagnosis, "_torch_sees_cuda", lambda: in_torch)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    done = run("doctor", "--port", "0")
    assert statuses(done.out)["devices"] == status
    assert message in " ".join(done.out.split())


def test_without_torch_no_device_is_seen_through_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert diagnosis._torch_sees_cuda() is False
