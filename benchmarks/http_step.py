"""How many steps per second over HTTP, with one step per request, beside other servers?

    python benchmarks/http_step.py                        # 5 rounds of 4 s; about 6 minutes
    python benchmarks/http_step.py --world lstm512-z64
    python benchmarks/http_step.py --only dreamserve,fastapi_validate --rounds 1

All serve the same world, except `fastapi_validate`, which has no model: it shows the cost of HTTP
and validation alone. 1,024 sessions step in rotation; requests to dreamserve carry step numbers.
Rounds go A B C ..., A B C ..., so changes of the machine's state affect all servers alike. Each
server runs only during its own measurement, which follows one second of unmeasured load.
benchmarks/peers/install installs the peers.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import load
from contention import Watch
from tables import print_circumstances, print_table
from worlds import SIZES, bundle_of

CONTROL, OURS = "fastapi_validate", "dreamserve"


@dataclass(frozen=True)
class Server:
    """How a server is started, filled with sessions, and loaded."""

    name: str
    command: Callable[[Path, int], list[str]]  # from a bundle and a port
    prepare: Callable[[int], None] = load.open_sessions
    ready: str = "/readyz"
    path: str = "/step"
    script: str = "step.lua"


def _peer(script: str) -> Callable[[Path, int], list[str]]:
    def command(bundle: Path, port: int) -> list[str]:
        path = load.HERE / "peers" / script
        return [load.peers_python(), str(path), str(bundle), "--port", str(port)]

    return command


def _control(bundle: Path, port: int) -> list[str]:
    size = json.loads((bundle / "manifest.json").read_text())["latent_size"]
    path = load.HERE / "peers" / "fastapi_validate.py"
    return ["env", f"Z={size}", load.peers_python(), str(path), "--port", str(port)]


def _create_by_step(port: int) -> None:
    ids = range(load.SESSIONS)
    load.send_all(port, "/step", ({"session_id": f"s{i}", "action": 0} for i in ids))


def _start_sequences(port: int) -> None:
    action = {"name": "action", "shape": [1, 1], "datatype": "INT64", "data": [0]}
    bodies = (
        {"parameters": {"sequence_id": i + 1, "sequence_start": True}, "inputs": [action]}
        for i in range(load.SESSIONS)
    )
    load.send_all(port, "/v2/models/step/infer", bodies)


SERVERS = (
    Server(OURS, load.dreamserve),
    Server(CONTROL, _control),
    Server("fastapi_torch", _peer("fastapi_torch.py")),
    Server(
        "litserve",
        _peer("litserve_step.py"),
        prepare=_create_by_step,
        ready="/health",
        script="litserve.lua",
    ),
    Server(
        "triton",
        _peer("triton_serve.py"),
        prepare=_start_sequences,
        ready="/v2/health/ready",
        path="/v2/models/step/infer",
        script="triton.lua",
    ),
)


def measure(
    server: Server, bundle: Path, seconds: float, connections: Sequence[int], watch: Watch
) -> dict[int, load.Load]:
    """Start a server and load it with each number of connections; return the results."""
    port = load.free_port()
    loads = {}
    with load.serving(server.command(bundle, port), port, server.ready) as pid:
        for count in connections:

            def run(seconds: float, count: int = count) -> load.Load:
                return load.run_wrk(
                    port, server.path, server.script, connections=count, seconds=seconds
                )

            loads[count] = load.measured(lambda: server.prepare(port), run, seconds, watch, pid)
            load.must_succeed(server.name, loads[count])
    return loads


def rows_of(results: dict[str, load.Rounds]) -> list[list[str]]:
    """Return the table's rows; the last two columns are ratios of rates."""
    rows = []
    for name, own in results.items():
        row = [name, f"{own.requests_per_s:,.0f} ({own.least:,.0f} to {own.most:,.0f})"]
        row += [f"{own.p50_ms:.2f}", f"{own.p99_ms:.2f}", str(own.non_2xx)]
        for over, under in ((own, results.get(CONTROL)), (results.get(OURS), own)):
            ratio = over.requests_per_s / under.requests_per_s if over and under else None
            row.append("" if ratio is None else f"{ratio:.2f}")
        rows.append(row)
    return rows


def _arguments() -> argparse.Namespace:
    known = [server.name for server in SERVERS]
    parser = argparse.ArgumentParser()
    parser.add_argument("--world", choices=list(SIZES), default="lstm256-z32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--only", default=",".join(known), help="comma-separated names")
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",")
    if unknown := set(arguments.only) - set(known):
        parser.error(f"no server {', '.join(sorted(unknown))}; choose from {known}")
    return arguments


def main() -> None:
    """Measure in rounds and print the tables."""
    arguments = _arguments()
    bundle = bundle_of(arguments.world)
    servers = [server for server in SERVERS if server.name in arguments.only]
    many: dict[str, list[load.Load]] = {server.name: [] for server in servers}
    one: dict[str, list[load.Load]] = {name: [] for name in many if name in (OURS, CONTROL)}
    watch = Watch()
    for number in range(arguments.rounds):
        for server in servers:
            counts = [arguments.connections, *([1] if server.name in one else [])]
            loads = measure(server, bundle, arguments.seconds, counts, watch)
            many[server.name].append(loads[arguments.connections])
            if server.name in one:
                one[server.name].append(loads[1])
            rate = loads[arguments.connections].requests_per_s
            print(f"round {number + 1}: {server.name} {rate:,.0f} steps/s", file=sys.stderr)
    columns = ["server", "steps/s", "p50 ms", "p99 ms", "non-2xx"]
    columns += [f"times {CONTROL}", f"{OURS} is times this"]
    print(f"{arguments.world}, {arguments.connections} connections, {load.SESSIONS} sessions\n")
    medians = {name: load.median_of_rounds(loads) for name, loads in many.items()}
    print_table(columns, rows_of(medians))
    print("\n1 connection\n")
    single = {name: load.median_of_rounds(loads) for name, loads in one.items()}
    rows = [
        [name, f"{1000 * s.p50_ms:.0f}", f"{1000 * s.p99_ms:.0f}"] for name, s in single.items()
    ]
    print_table(["server", "p50 µs", "p99 µs"], rows)
    print_circumstances(
        ["onnxruntime"], ["litserve", "nvidia-pytriton", "fastapi", "uvicorn", "torch"], watch
    )


if __name__ == "__main__":
    main()
