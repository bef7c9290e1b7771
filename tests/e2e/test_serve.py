"""`dreamserve serve`, from the process's start to its exit."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

COMMAND = str(Path(sys.executable).with_name("dreamserve"))
READY_S = 3.0


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **variables},
    )


def assert_refused(done: "subprocess.CompletedProcess[str]", message: str) -> None:
    """Assert one clear line, an exit code other than 0, and no traceback."""
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("dreamserve: ")
    assert re.search(message, line), line


@pytest.fixture(scope="module")
def served(serve, bundle) -> Iterator[Any]:
    """Return a server of each real bundle in turn."""
    with serve(bundle, "--capacity", "500") as served:
        yield served


def test_a_world_is_served_and_dreamt(served, bundle) -> None:
    with httpx.Client(base_url=served.url) as http:
        (world,) = http.get("/worlds").json()["worlds"]
        assert world["name"] == bundle.name
        assert world["backend"].startswith("onnx")
        start = http.post("/reset", json={"seed": 7, "include": ["frame"]}).json()
        assert len(start["latent"]) == world["latent_size"]
        fields = {"session_id": start["session_id"], "action": 1, "step": 1}
        stepped = http.post("/step", json=fields).json()
        assert stepped["step"] == 1
        assert http.post("/step", json=fields).json() == stepped
        fields = {"session_id": start["session_id"], "horizon": 5, "candidates": 32}
        assert len(http.post("/plan", json=fields).json()["actions"]) == 5
        fields = {"session_id": start["session_id"], "futures": 4, "horizon": 5}
        assert len(http.post("/sample", json=fields).json()["latents"]) == 4


def test_it_prints_what_it_serves_in_one_line(served, bundle) -> None:
    wanted = (
        rf"dreamserve \S+: {bundle.name} \(onnx-cpu\); up to 500 sessions in \S+ MB,"
        r" at most \d+ MB in all; http://\S+"
    )
    assert re.fullmatch(wanted, served.line)


@pytest.mark.alone
def test_it_is_ready_in_time(serve, bundle) -> None:
    taken_s = []
    for _ in range(3):  # the best of three: the machine may be busy
        with serve(bundle) as served:
            taken_s.append(served.ready_s)
        if taken_s[-1] < READY_S:
            return
    raise AssertionError(f"ready after {taken_s} s")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_a_server_on_onnx_never_loads_torch(served) -> None:
    with httpx.Client(base_url=served.url) as http:
        session_id = http.post("/reset", json={"include": ["frame"]}).json()["session_id"]
        http.post("/plan", json={"session_id": session_id, "horizon": 3, "candidates": 8})
        mapped = Path(f"/proc/{served.process.pid}/maps").read_text()
        assert "onnxruntime" in mapped
        assert "torch" not in mapped


def test_the_torch_backend_dreams_the_same_dream(serve, exported_bundle) -> None:
    answers = []
    for backend in ("onnx", "torch"):
        with serve(exported_bundle, "--backend", backend, "--trust-torchscript") as served:
            http = httpx.Client(base_url=served.url)
            http.post("/reset", json={"session_id": "s", "seed": 3})
            answers.append(http.post("/step", json={"session_id": "s", "action": 2}).json())
            http.close()
    on_onnx, on_torch = answers
    assert on_onnx["latent"] == pytest.approx(on_torch["latent"], rel=1e-4, abs=1e-4)


def test_sigterm_without_sessions_exits_0_at_once(serve, exported_bundle) -> None:
    with serve(exported_bundle) as served:
        assert served.stop(signal.SIGTERM) == 0


def test_sigterm_keeps_serving_existing_sessions_and_then_exits_0(serve, exported_bundle) -> None:
    with serve(exported_bundle, "--drain-s", "60") as served:
        with httpx.Client(base_url=served.url) as http:
            http.post("/reset", json={"session_id": "known"})
            served.process.send_signal(signal.SIGTERM)
            while (ready := http.get("/readyz")).status_code == 200:
                pass
            assert ready.json()["code"] == "draining"
            assert http.post("/reset", json={}).json()["code"] == "draining"
            fields = {"session_id": "known", "action": 0}
            assert http.post("/step", json=fields).json()["step"] == 1
            assert http.delete("/sessions/known").status_code == 204
        assert served.process.wait(10) == 0


def test_draining_is_bounded(serve, exported_bundle) -> None:
    with serve(exported_bundle, "--drain-s", "0.1") as served:
        httpx.post(f"{served.url}/reset", json={"session_id": "left-behind"})
        assert served.stop(signal.SIGTERM) == 0


def test_an_interrupt_from_the_keyboard_does_not_wait_for_sessions(serve, exported_bundle) -> None:
    with serve(exported_bundle, "--drain-s", "60") as served:
        httpx.post(f"{served.url}/reset", json={"session_id": "left-behind"})
        assert served.stop(signal.SIGINT) == 0


def test_a_missing_bundle_is_refused(tmp_path) -> None:
    assert_refused(run("serve", str(tmp_path / "nowhere"), "--port", "0"), "nowhere")


def test_in_json_all_that_it_prints_is_an_object_a_line(exported_bundle, tmp_path) -> None:
    command = [COMMAND, "serve", str(exported_bundle), "--port", "0", "--log-format", "json"]
    variables = {**os.environ, "DREAMSERVE_CAPACITY": "500"}
    with (tmp_path / "log").open("wb+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=variables)
        try:
            for _ in range(3000):
                if b'"serving"' in (tmp_path / "log").read_bytes():
                    break
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.01)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    world, settings, serving, *_ = events
    assert (world["message"], world["world"], world["threads"] >= 1) == ("world", "untrained", True)
    assert settings["capacity"] == "500"
    assert serving["url"].startswith("http://127.0.0.1:")
    assert serving["memory_bytes"] > 0
