"""A server that is told to stop answers everything that it has accepted, and exits with 0."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.sync.client import connect

COMMAND = str(Path(sys.executable).with_name("dreamserve"))
TAKECOVER = Path(__file__).parents[2] / "bundles" / "takecover"
PATIENCE_S = 30.0
PROMPT_S = 4.0  # on a busy machine; a tenth of that on an idle one
IGNORED, CAUGHT = "SigIgn:", "SigCgt:"


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail after PATIENCE_S."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"


@pytest.fixture
def world() -> Path:
    """Return a bundle whose dreams last for hundreds of steps."""
    if not TAKECOVER.is_dir():
        pytest.skip("bundles/takecover is not there")
    return TAKECOVER


class Request:
    """A request sent over a connection of its own, which the server has read."""

    def __init__(self, url: str, path: str, fields: dict[str, Any], without: int = 0) -> None:
        body = json.dumps(fields).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE_S)
        sent = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self.socket.sendall(sent[: len(sent) - without])
        for _ in range(3):  # requests that came later
            assert httpx.get(f"{url}/livez").status_code == 200

    def response(self) -> tuple[int, dict[str, str], Any]:
        """Return status, headers and content, after which the server closes the connection."""
        with self.socket.makefile("rb") as stream:
            raw = stream.read()
        self.socket.close()
        head, _, content = raw.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        assert len(content) == int(headers["content-length"])
        return int(status.split()[1]), headers, json.loads(content)


def rollout(url: str, episodes: int) -> Request:
    return Request(url, "/rollout", {"policy": "random", "episodes": episodes, "max_steps": 2000})


def stopped_within(process: "subprocess.Popen[str]", limit_s: float = PROMPT_S) -> bool:
    """Return whether the process ends with 0 in time."""
    began_s = time.monotonic()
    status = process.wait(PATIENCE_S)
    took_s = time.monotonic() - began_s
    print(f"stopped after {took_s:.2f} s")
    return status == 0 and took_s < limit_s


def test_everything_accepted_is_answered_within_the_time_to_drain(serve, world, capfd) -> None:
    body = {"policy": "random", "episodes": 32, "max_steps": 2000}
    with serve(world, "--drain-s", "60") as served:
        url = served.url.replace("http", "ws") + "/stream"
        with connect(url) as stream:
            stream.send(json.dumps({"id": 1, "verb": "rollout", "body": body}))
            request = Request(served.url, "/rollout", body)
            half_sent = Request(served.url, "/reset", {"seed": 1}, without=1)
            served.process.send_signal(signal.SIGTERM)
            while (ready := httpx.get(f"{served.url}/readyz")).status_code == 200:
                pass
            assert (ready.json()["code"], ready.headers["connection"]) == ("draining", "close")
            status, headers, content = request.response()
            assert (status, headers["connection"]) == (200, "close")
            assert len(content["returns"][0]) == 32
            assert json.loads(stream.recv(PATIENCE_S))["status"] == 200
            with pytest.raises(ConnectionClosed) as closed:
                stream.recv(PATIENCE_S)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == CloseCode.SERVICE_RESTART
        assert half_sent.response()[2]["code"] == "draining"
        assert stopped_within(served.process)
    assert "Traceback" not in capfd.readouterr().err


def test_a_request_that_takes_longer_is_refused_as_draining(serve, world, capfd) -> None:
    with serve(world, "--drain-s", "0.3") as served:
        request = rollout(served.url, episodes=1000)
        served.process.send_signal(signal.SIGTERM)
        status, headers, content = request.response()
        assert (status, content["code"]) == (503, "draining")
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert stopped_within(served.process)
    assert "Traceback" not in capfd.readouterr().err


def test_each_further_signal_stops_sooner(serve, world) -> None:
    with serve(world, "--drain-s", "600") as served:
        request = rollout(served.url, episodes=1000)
        served.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{served.url}/readyz").status_code != 200)
        served.process.send_signal(signal.SIGTERM)
        until(lambda: not is_reachable(served.url))  # it no longer accepts connections
        served.process.send_signal(signal.SIGTERM)
        assert request.response()[2]["code"] == "draining"
        assert stopped_within(served.process)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_a_hangup_drains_and_unused_sessions_do_not_delay_the_exit(serve, exported_bundle) -> None:
    with serve(exported_bundle, "--drain-s", "600", quiet_s=0.5) as served:
        httpx.post(f"{served.url}/reset", json={"session_id": "left-behind"})
        served.process.send_signal(signal.SIGHUP)
        until(lambda: httpx.get(f"{served.url}/readyz").status_code == 503)
        assert stopped_within(served.process)


def test_under_load_every_request_gets_its_response(serve, exported_bundle) -> None:
    began = threading.Barrier(9, timeout=PATIENCE_S)

    def step_until_told_to_leave(url: str) -> None:
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as http:
            session_id = http.post("/reset", json={}).json()["session_id"]
            began.wait()
            for _ in range(1_000_000):
                response = http.post("/step", json={"session_id": session_id, "action": 0})
                assert response.status_code in (200, 409), response.text  # the dream may end
                if response.headers.get("connection") == "close":
                    return
        raise AssertionError("never told")

    with serve(exported_bundle, "--drain-s", "600", quiet_s=1.0) as served:
        with ThreadPoolExecutor(8) as pool:
            done = [pool.submit(step_until_told_to_leave, served.url) for _ in range(8)]
            began.wait()
            served.process.send_signal(signal.SIGTERM)
            for one in done:
                one.result(PATIENCE_S)
        assert stopped_within(served.process, 1.0 + PROMPT_S)


def test_a_session_in_use_is_served_until_it_is_quiet(serve, exported_bundle) -> None:
    with serve(exported_bundle, "--drain-s", "600", quiet_s=1.0) as served:
        with httpx.Client(base_url=served.url) as http:
            http.post("/reset", json={"session_id": "used"})
            served.process.send_signal(signal.SIGTERM)
            until_s = time.monotonic() + 2.5
            while time.monotonic() < until_s:
                stepped = http.post("/step", json={"session_id": "used", "action": 0})
                assert stepped.status_code in (200, 409)
        assert stopped_within(served.process)


def is_reachable(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=PATIENCE_S).is_success
    except httpx.TransportError:
        return False


def test_a_server_that_warms_up_stops_at_once(exported_bundle) -> None:
    with started(exported_bundle) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("dreamserve")
        process.send_signal(signal.SIGTERM)
        assert stopped_within(process)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_server_that_has_not_loaded_its_worlds_stops_at_once(exported_bundle) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited, as under nohup
    try:
        process = started(exported_bundle)
    finally:
        signal.signal(signal.SIGHUP, before)
    with process:
        until_s = time.monotonic() + PATIENCE_S
        while not signals(process.pid, CAUGHT) >> (signal.SIGTERM - 1) & 1:
            assert time.monotonic() < until_s
        assert signals(process.pid, IGNORED) >> (signal.SIGHUP - 1) & 1
        process.send_signal(signal.SIGTERM)
        assert stopped_within(process)
        assert process.stdout is not None
        assert process.stdout.read() == ""


def signals(pid: int, which: str) -> int:
    """Return a process's mask of ignored or caught signals."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith(which))


@pytest.fixture
def serve(serve: Any) -> Any:
    """Return the fixture with the setting `quiet_s`, which is no option."""

    def with_quiet(*arguments: Any, quiet_s: float = 5.0) -> Any:
        os.environ["DREAMSERVE_DRAIN_QUIET_S"] = str(quiet_s)
        return serve(*arguments)

    yield with_quiet
    os.environ.pop("DREAMSERVE_DRAIN_QUIET_S", None)


def started(bundle: Path) -> "subprocess.Popen[str]":
    command = [COMMAND, "serve", str(bundle), "--port", "0"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
