"""Does a plan with a time budget keep it, however many sessions plan at once?

    python benchmarks/plan_budget.py                        # takecover; 5 rounds of 3 s each
    python benchmarks/plan_budget.py --world lstm256-z32 --budget-ms 50

The claim: with `budget_ms: 20` the response arrives within 25 ms at the 99th percentile, with 16
sessions planning at once. Each session plans from its current state, takes a step, and plans again,
without pause; a time is measured by the client, from the first byte of a request to the last of its
response. The server is on core 0, the clients share core 1.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import load
from bare import pinned
from contention import Watch
from tables import print_circumstances, print_table, spread, verdict
from worlds import SIZES, bundle_of

TAKECOVER = Path(__file__).parents[1] / "bundles" / "takecover"
ALLOWANCE_MS = 5.0


@dataclass
class PlanTimes:
    """Times and sizes of plans, as the clients see them."""

    times_ms: list[float] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    iterations: list[int] = field(default_factory=list)


class Client:
    """One connection, one request at a time."""

    @classmethod
    async def connect(cls, port: int) -> "Client":
        """Open the connection."""
        client = cls()
        client.reader, client.writer = await asyncio.open_connection("127.0.0.1", port)
        return client

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a body, return the response's. Raises RuntimeError if the status is not 200."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        self.writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        response = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(response.split(b"content-length:")[1].split(b"\r\n")[0])
        received = await self.reader.readexactly(length)
        if b" 200 " not in response.split(b"\r\n")[0]:
            raise RuntimeError(f"{path} failed: {received[:500]!r}")
        fields: dict[str, Any] = json.loads(received)
        return fields


async def plan_on(port: int, number: int, body: Any, until_s: float, times: PlanTimes) -> None:
    """Plan and step in turn until the clock reads `until_s`."""
    client, name = await Client.connect(port), f"p{number}"
    await client.post("/reset", {"session_id": name, "seed": number})
    while time.perf_counter() < until_s:
        began_s = time.perf_counter()
        plan = await client.post("/plan", {"session_id": name, **body})
        times.times_ms.append(1e3 * (time.perf_counter() - began_s))
        times.evaluations.append(plan["evaluations"])
        times.iterations.append(plan["iterations"])
        stepped = await client.post("/step", {"session_id": name, "action": plan["action"]})
        if stepped["terminated"]:
            await client.post("/reset", {"session_id": name})
    client.writer.close()


def measure(port: int, sessions: int, body: dict[str, Any], seconds: float) -> PlanTimes:
    """Let `sessions` clients plan at once for `seconds`; return their plans' times."""

    async def run() -> PlanTimes:
        times, until_s = PlanTimes(), time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(sessions):
                group.create_task(plan_on(port, number, body, until_s, times))
        return times

    return asyncio.run(run())


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", choices=["takecover", *SIZES], default="takecover")
    parser.add_argument("--sessions", default="1,4,16")
    parser.add_argument("--budget-ms", type=float, default=20.0)
    parser.add_argument("--planner", default="cem")
    parser.add_argument("--horizon", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    body = {"planner": args.planner, "horizon": args.horizon, "budget_ms": args.budget_ms}
    bundle = TAKECOVER if args.world == "takecover" else bundle_of(args.world)
    counts, port = [int(count) for count in args.sessions.split(",")], load.free_port()
    rounds: dict[int, list[PlanTimes]] = {count: [] for count in counts}
    watch = Watch(cores=[load.SERVER_CORE])
    with load.serving(load.dreamserve(bundle, port), port) as pid, pinned(load.LOAD_CORE):
        for number in range(args.rounds):
            for count in counts:

                def run(seconds: float, count: int = count) -> PlanTimes:
                    return measure(port, count, body, seconds)

                rounds[count].append(load.measured(lambda: None, run, args.seconds, watch, pid))
                p99 = float(np.percentile(rounds[count][-1].times_ms, 99))
                print(f"round {number + 1}: {count} at once, p99 {p99:.1f} ms", file=sys.stderr)
    rows, p99_ms = [], {}
    for count, results in rounds.items():
        p99s = [float(np.percentile(r.times_ms, 99)) for r in results]
        p99_ms[count] = statistics.median(p99s)
        rows.append(
            [
                str(count),
                f"{statistics.median(t for r in results for t in r.times_ms):.1f}",
                spread(p99s, ".1f"),
                f"{max(t for r in results for t in r.times_ms):.1f}",
                f"{statistics.median(e for r in results for e in r.evaluations):.0f}",
                f"{statistics.median(i for r in results for i in r.iterations):.0f}",
            ]
        )
    print(f"{args.world}, {args.planner}, {args.horizon} steps, {args.budget_ms:g} ms\n")
    print_table(
        ["sessions at once", "p50 ms", "p99 ms", "longest ms", "candidates", "iterations"], rows
    )
    bound = args.budget_ms + ALLOWANCE_MS
    print()
    worst = p99_ms[max(counts)]
    print(verdict(f"p99 within {bound:g} ms, {max(counts)} at once ({worst:.1f})", worst <= bound))
    print_circumstances(["onnxruntime"], watch=watch)


if __name__ == "__main__":
    main()
