"""How many steps per second over one WebSocket, beside as many HTTP connections?

    python benchmarks/stream_step.py                     # 5 rounds of 4 s; about 2 minutes
    python benchmarks/stream_step.py --world lstm512-z64

64 sessions on one socket, each with one step in flight, and 64 HTTP connections with one each. The
server has one core, the load another. The WebSocket client builds its frames in advance, by hand
and with a mask of 0, so that it costs less than the server.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import load
from contention import LOAD_CORE, Watch
from tables import print_circumstances, print_table
from worlds import SIZES, bundle_of

TARGET = 1.6  # times the steps/s of HTTP
STEPS_A_DREAM = 100  # then its session is reset, before the dream can end


def handshake(port: int) -> socket.socket:
    """Connect to the server and complete the WebSocket handshake."""
    stream = socket.create_connection(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.sendall(
        b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += stream.recv(1)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return stream


def frame(verb: str, number: int, body: dict[str, object]) -> bytes:
    """Return a request as a text frame."""
    text = json.dumps({"id": number, "verb": verb, "body": body}, separators=(",", ":")).encode()
    head = (
        bytes([0x81, 0x80 | len(text)])
        if len(text) < 126
        else (bytes([0x81, 0xFE]) + len(text).to_bytes(2, "big"))
    )
    return head + b"\0\0\0\0" + text


class Responses:
    """Reads response frames from a socket."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream, self._buffer = stream, b""

    def take(self) -> list[int]:
        """Wait for one or more responses; return their ids. All must have status 200."""
        ids: list[int] = []
        while not ids:
            received = self._stream.recv(1 << 18)
            assert received, "the server closed the socket"
            buffer, at = self._buffer + received, 0
            while len(buffer) >= at + 4:
                size, head = buffer[at + 1], 2
                if size >= 126:
                    size, head = int.from_bytes(buffer[at + 2 : at + 4], "big"), 4
                end = at + head + size
                if len(buffer) < end:
                    break
                id_, _, rest = buffer[at + head + len(b'{"id":') : at + head + 32].partition(b",")
                assert rest.startswith(b'"status":200'), buffer[at:end]
                ids.append(int(id_))
                at = end
            self._buffer = buffer[at:]
        return ids


def dream_of(session: int) -> list[bytes]:
    """Return the frames that a session sends in a loop: a reset, then its steps."""
    name = f"w{session}"
    steps = [
        frame("step", session, {"session_id": name, "action": number % 3, "step": number})
        for number in range(1, STEPS_A_DREAM)
    ]
    return [frame("reset", session, {"session_id": name, "seed": session}), *steps]


def client(port: int, sessions: int, seconds: float) -> None:
    """Step each session again as soon as it is answered; print steps/s and latencies as JSON."""
    dreams = [dream_of(i) for i in range(sessions)]
    stream = handshake(port)
    responses = Responses(stream)
    sent, sent_s = [1] * sessions, [0.0] * sessions
    took_s: list[float] = []
    began_s = now_s = time.perf_counter()
    stream.sendall(b"".join(frames[0] for frames in dreams))
    while now_s < began_s + seconds:
        answered = responses.take()
        now_s = time.perf_counter()
        requests = []
        for i in answered:
            place = sent[i] % STEPS_A_DREAM
            if place != 1:  # the response is to a step, not to a reset
                took_s.append(now_s - sent_s[i])
            requests.append(dreams[i][place])
            sent[i], sent_s[i] = sent[i] + 1, now_s
        stream.sendall(b"".join(requests))
    rate = len(took_s) / (now_s - began_s)
    p50_ms, p99_ms = (1e3 * statistics.quantiles(took_s, n=100)[i] for i in (49, 98))
    print(json.dumps({"rate": rate, "p50_ms": p50_ms, "p99_ms": p99_ms}))


def over_stream(port: int, sessions: int, seconds: float) -> load.Load:
    """Run the client in a process on the load's core; return its result."""
    command = ["taskset", "-c", str(LOAD_CORE), sys.executable, __file__, "--client", str(port)]
    command += ["--sessions", str(sessions), "--seconds", str(seconds)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    if ran.returncode:
        sys.exit(ran.stderr)
    result = json.loads(ran.stdout)
    return load.Load(result["rate"], result["p50_ms"], result["p99_ms"], 0, 0)


def measure(bundle: Path, sessions: int, seconds: float, watch: Watch) -> dict[str, load.Load]:
    """Start a server and load it over each transport; return the results."""
    port, loads = load.free_port(), {}
    with load.serving(load.dreamserve(bundle, port), port) as pid:
        loads["http"] = load.measured_steps("http", port, sessions, seconds, watch, pid)
        loads["stream"] = load.measured(
            lambda: None, lambda seconds: over_stream(port, sessions, seconds), seconds, watch, pid
        )
    return loads


def main() -> None:
    """Measure in rounds and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--world", choices=list(SIZES), default="lstm256-z32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--client", type=int, help="only send the load, to a server on this port")
    arguments = parser.parse_args()
    if arguments.client is not None:
        client(arguments.client, arguments.sessions, arguments.seconds)
        return
    bundle, watch = bundle_of(arguments.world), Watch()
    results: dict[str, list[load.Load]] = {"http": [], "stream": []}
    for _ in range(arguments.rounds):
        loads = measure(bundle, arguments.sessions, arguments.seconds, watch)
        for transport, result in loads.items():
            results[transport].append(result)
    medians = {transport: load.median_of_rounds(loads) for transport, loads in results.items()}
    ratio = statistics.median(
        stream.requests_per_s / http.requests_per_s
        for stream, http in zip(results["stream"], results["http"], strict=True)
    )
    print(f"{arguments.world}, {arguments.sessions} sessions\n")
    rows = [
        [transport, f"{one.requests_per_s:,.0f}", f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}"]
        for transport, one in medians.items()
    ]
    print_table(["transport", "steps/s", "p50 ms", "p99 ms"], rows)
    print(f"\nstream: {ratio:.2f} x http (median of rounds); target {TARGET}")
    print_circumstances(["onnxruntime"], [], watch)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
