"""Shared by the benchmarks over HTTP: a server on one core, wrk on another.

    python benchmarks/http_step.py         # is one of them

Server and load have one core each, so neither takes time from the other; `contention` checks that
no other process used the server's core.
"""

import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO, TypeVar

from contention import LOAD_CORE, SERVER_CORE, Watch
from tables import PEERS

HERE = Path(__file__).parent
SESSIONS = int(os.environ.get("BENCH_SESSIONS", "1024"))  # fewer, to test whether a script runs
T = TypeVar("T")


@dataclass(frozen=True)
class Load:
    """The result of one run of wrk."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    non_2xx: int
    socket_errors: int


@dataclass(frozen=True)
class Rounds:
    """Medians over rounds, the lowest and highest rate, and sums of errors."""

    requests_per_s: float
    least: float
    most: float
    p50_ms: float
    p99_ms: float
    non_2xx: int
    socket_errors: int


def median_of_rounds(loads: Sequence[Load]) -> Rounds:
    """Return the medians of several loads."""
    rates = [load.requests_per_s for load in loads]
    return Rounds(
        requests_per_s=statistics.median(rates),
        least=min(rates),
        most=max(rates),
        p50_ms=statistics.median(load.p50_ms for load in loads),
        p99_ms=statistics.median(load.p99_ms for load in loads),
        non_2xx=sum(load.non_2xx for load in loads),
        socket_errors=sum(load.socket_errors for load in loads),
    )


def free_port() -> int:
    """Return a port that is currently free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def peers_python() -> str:
    """Return the interpreter of the peers' environment."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        sys.exit("the peers are not installed: run benchmarks/peers/install")
    return str(python)


def dreamserve(bundle: Path, port: int, *options: str) -> list[str]:
    """Return the command that starts dreamserve; on SIGTERM it does not wait for sessions."""
    program = Path(sys.executable).parent / "dreamserve"
    command = [str(program), "serve", str(bundle), "--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--drain-s", "0", *options]


@contextmanager
def serving(
    command: Sequence[str],
    port: int,
    ready: str = "/readyz",
    *,
    cores: str = str(SERVER_CORE),
    environment: Mapping[str, str] | None = None,
    bound_s: float = 60.0,
    poll_s: float = 0.05,
) -> Iterator[int]:
    """Run a server on its core until the block ends; yield its process id once it is ready."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            ["taskset", "-c", cores, *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # its own process group, to stop its workers with it
        )
        try:
            _wait_until_ready(process, port, ready, bound_s, poll_s, output)
            yield process.pid
        finally:
            _end(process)


def _wait_until_ready(
    process: subprocess.Popen[bytes],
    port: int,
    ready: str,
    bound_s: float,
    poll_s: float,
    output: TextIO,
) -> None:
    until = time.monotonic() + bound_s
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError, http.client.HTTPException):
            if call(port, "GET", ready)[0] == 200:
                return
        time.sleep(poll_s)
    output.seek(0)
    why = f"exited with {process.returncode}" if process.returncode is not None else "is not ready"
    sys.exit(f"{process.args!r} {why}:\n{output.read()[-4000:]}")


def _end(process: subprocess.Popen[bytes], bound_s: float = 3.0) -> None:
    """Send SIGTERM to the server; after `bound_s` kill what remains of its process group."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(bound_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def call(port: int, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    """Send one request; return the response's status and content."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, *_content(body))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def send_all(port: int, path: str, bodies: Iterator[Any]) -> None:
    """Send many requests over one connection, one after the other; exit if one fails."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for body in bodies:
        connection.request("POST", path, *_content(body))
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            sys.exit(f"POST {path} {body} returned {response.status}: {content[:500]!r}")
    connection.close()


def _content(body: Any) -> tuple[bytes | None, dict[str, str]]:
    if body is None:
        return None, {}
    return json.dumps(body).encode(), {"Content-Type": "application/json"}


def open_sessions(port: int, sessions: int = SESSIONS) -> None:
    """Create or reset dreamserve's sessions s0, s1, ..."""
    bodies = ({"session_id": f"s{i}", "seed": i, "temperature": 1.0} for i in range(sessions))
    send_all(port, "/reset", bodies)


def run_wrk(
    port: int,
    path: str,
    script: str,
    *,
    connections: int,
    seconds: float,
    arguments: Sequence[object] = (SESSIONS,),
) -> Load:
    """Run wrk with a Lua script on the load's core; `arguments` are passed to the script.

    wrk knows whole seconds; of less than one it is interrupted, and reports what it has measured.
    """
    interrupted = ["timeout", "--signal", "INT", f"{seconds}"] if seconds < 1 else []
    command = ["taskset", "-c", str(LOAD_CORE), *interrupted, "wrk", "-t1", f"-c{connections}"]
    command += [f"-d{max(1, round(seconds))}s", "--latency", "-s", str(HERE / "wrk" / script)]
    command += [f"http://127.0.0.1:{port}{path}", "--", *map(str, arguments)]
    ran = subprocess.run(
        command,
        env=os.environ | {"LUA_PATH": str(HERE / "wrk" / "?.lua")},
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        check=False,
    )
    for line in ran.stdout.splitlines():
        if line.startswith("result: "):
            return Load(**json.loads(line.removeprefix("result: ")))
    sys.exit(f"wrk failed: {' '.join(command)}\n{ran.stdout}{ran.stderr}")


def measured(
    prepare: Callable[[], None],
    run: Callable[[float], T],
    seconds: float,
    watch: Watch,
    pid: int,
) -> T:
    """Measure the server `pid` after a second or less of unmeasured load; repeat if disturbed.

    `prepare` resets the sessions.
    """

    def warm() -> None:
        prepare()
        run(min(1.0, seconds))
        prepare()

    return watch.measure(lambda: run(seconds), pid, warm)


def measured_steps(
    name: str,
    port: int,
    connections: int,
    seconds: float,
    watch: Watch,
    pid: int,
    first: int | Literal["none"] = 1,
) -> Load:
    """Measure /step on as many connections, as `measured`; exit if a request to `name` failed.

    `first` is the number of a session's first step; "none" leaves numbers out.
    """

    def run(seconds: float) -> Load:
        return run_wrk(
            port,
            "/step",
            "step.lua",
            connections=connections,
            seconds=seconds,
            arguments=(SESSIONS, first),
        )

    result = measured(lambda: open_sessions(port), run, seconds, watch, pid)
    must_succeed(name, result)
    return result


def must_succeed(name: str, result: Load) -> None:
    """Exit if any request failed: an error response is not a step."""
    if result.non_2xx or result.socket_errors or not result.requests_per_s:
        sys.exit(f"requests to {name} failed: {result}")
