"""What do thousands of idle and slow connections cost those who step?

    python benchmarks/many_connections.py                       # 2,000 connections; 30 seconds
    python benchmarks/many_connections.py --connections 200 --steps 100

A third of the connections send nothing, a third an unfinished head, a third an unfinished body of
60 KB. One client steps over one connection of its own: before they are opened, while they are open,
and after they are closed. The server's memory is read at the same times.
"""

import argparse
import http.client
import json
import socket
import statistics
import time
from pathlib import Path

import load
from contention import Watch
from tables import print_circumstances, print_table
from worlds import bundle_of

HEAD = b"POST /reset HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
SENT = (b"", HEAD, HEAD + b"Content-Length: 60000\r\n\r\n" + b" " * 59_999)


def measure(port: int, pid: int, steps: int, phase: str) -> list[str]:
    """Step one session and return a row: latencies, and the server's memory."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    took_ms = []
    for number in range(steps):
        path, fields = ("/step", {"session_id": "s", "action": 0}) if number else ("/reset", {})
        body = json.dumps({"session_id": "s", **fields})
        began_s = time.perf_counter()
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        took_ms.append(1000 * (time.perf_counter() - began_s))
        assert response.status == 200
    connection.close()
    p99_ms = statistics.quantiles(took_ms, n=100)[-1]
    status = Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2]
    memory_mb = int(status.split()[0]) / 1024
    return [phase, f"{statistics.median(took_ms):.2f}", f"{p99_ms:.2f}", f"{memory_mb:.0f}"]


def open_all(port: int, count: int) -> list[socket.socket]:
    """Open connections that send nothing more."""
    opened = []
    for number in range(count):
        opened.append(socket.create_connection(("127.0.0.1", port), 30))
        opened[-1].sendall(SENT[number % len(SENT)])
    return opened


def main() -> None:
    """Measure the phases and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    port, watch = load.free_port(), Watch()
    command = load.dreamserve(bundle_of("lstm256-z32"), port)
    with load.serving(command, port, "/readyz") as pid:
        rows = [measure(port, pid, arguments.steps, "before")]
        opened = open_all(port, arguments.connections)
        rows.append(measure(port, pid, arguments.steps, f"{arguments.connections} connections"))
        for one in opened:
            one.close()
        rows.append(measure(port, pid, arguments.steps, "after"))
    print_table(["phase", "p50 ms", "p99 ms", "server MB"], rows)
    print_circumstances(["onnxruntime"], [], watch)


if __name__ == "__main__":
    main()
