"""What the benchmarks over HTTP share: a server on one core, wrk on another.

    python benchmarks/http_step.py         # is one of them

The server has one core to itself and the load another, so that neither takes time from the other;
`contention` looks whether it really had.
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
from typing import Any, TextIO, TypeVar

from contention import LOAD_CORE, SERVER_CORE, Watch
from tables import PEERS

HERE = Path(__file__).parent
SESSIONS = 1024
T = TypeVar("T")


@dataclass(frozen=True)
class Load:
    """What wrk saw."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    non_2xx: int
    socket_errors: int


@dataclass(frozen=True)
class Rounds:
    """Medians over rounds, and the slowest and fastest of them; errors are summed."""

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
    """Return a port that the system says is free."""
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
    """Return how dreamserve is started. It ends at once, though its sessions are there still."""
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
            start_new_session=True,  # a group of its own, so that its workers end with it
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
    why = f"ended with {process.returncode}" if process.returncode is not None else "is not ready"
    sys.exit(f"{process.args!r} {why}:\n{output.read()[-4000:]}")


def _end(process: subprocess.Popen[bytes], bound_s: float = 3.0) -> None:
    """Ask the server to end; after a while end whatever is left of its process group."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(bound_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def call(port: int, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    """Send one request; return its status and the answer's bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, *_content(body))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def send_all(port: int, path: str, bodies: Iterator[Any]) -> None:
    """Send many requests over one connection, one after the other; each must be answered well."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for body in bodies:
        connection.request("POST", path, *_content(body))
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            sys.exit(f"POST {path} {body} was answered {answer.status}: {content[:500]!r}")
    connection.close()


def _content(body: Any) -> tuple[bytes | None, dict[str, str]]:
    if body is None:
        return None, {}
    return json.dumps(body).encode(), {"Content-Type": "application/json"}


def open_sessions(port: int, sessions: int = SESSIONS) -> None:
    """Begin dreamserve's sessions s0, s1, ...; those that are there start over."""
    bodies = ({"session_id": f"s{i}", "seed": i, "temperature": 1.0} for i in range(sessions))
    send_all(port, "/reset", bodies)


def load(
    port: int,
    path: str,
    script: str,
    *,
    connections: int,
    seconds: float,
    arguments: Sequence[object] = (SESSIONS,),
) -> Load:
    """Run wrk on its core; what `arguments` are, each script says."""
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}"]
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


def loaded(
    prepare: Callable[[], None],
    run: Callable[[float], T],
    seconds: float,
    watch: Watch,
    pid: int,
) -> T:
    """Measure the server `pid` after a second's load that is thrown away, until it was undisturbed.

    `prepare` begins the sessions anew.
    """

    def warm() -> None:
        prepare()
        run(1)
        prepare()

    return watch.measure(lambda: run(seconds), pid, warm)


def must_be_clean(name: str, seen: Load) -> None:
    """An answer that refuses is no step: such a number would say nothing."""
    if seen.non_2xx or seen.socket_errors or not seen.requests_per_s:
        sys.exit(f"{name} did not answer everything well: {seen}")
