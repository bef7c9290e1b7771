"""What does a camera's frame cost on its way to /step through the SDK?

    python benchmarks/camera.py                  # 5 rounds; about 1 minute

The claims: a step whose observation is a frame of 240 x 320 x 3 takes at most 1.5 times as long
through the SDK as by hand, with httpx and msgpack; and while a client sends such steps without a
pause, the 99th percentile of the others' steps is at most 2 times what it is without them.

One session steps with a frame: through the SDK in msgpack (the default), in JSON, over the stream,
and by hand. Their rounds alternate on one server, on core 0; the clients have core 1, and share it
with the others, which wrk plays: 16 connections that step 1,024 sessions in rotation.
"""

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgpack
import numpy as np

import load
from bare import pinned
from contention import Watch
from dreamserve_client import DreamClient
from tables import print_circumstances, print_table, spread, verdict

TIMES_BY_HAND, TIMES_ALONE = 1.5, 2.0
TAKECOVER = Path(__file__).parents[1] / "bundles" / "takecover"
FRAME = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
BY_HAND, SDK, OVER_STREAM, AS_JSON = "by hand", "SDK", "SDK, stream", "SDK, JSON"
Step = Callable[[], object]


def by_hand(port: int, http: httpx.Client) -> Step:
    """Return a step as one writes it without the SDK."""
    url, kind = f"http://127.0.0.1:{port}/", {"content-type": "application/msgpack"}
    headers = {**kind, "accept": "application/msgpack"}
    number = 0

    def send(path: str, body: dict[str, Any]) -> Any:
        response = http.post(url + path, content=msgpack.packb(body), headers=headers)
        response.raise_for_status()
        return msgpack.unpackb(response.content)

    def step() -> object:
        nonlocal number
        number += 1
        packed = {"dtype": "|u1", "shape": list(FRAME.shape), "data": FRAME.tobytes()}
        body = {"session_id": "hand", "action": 1, "step": number, "observation": packed}
        latent = send("step", body)["latent"]
        return np.frombuffer(latent["data"], latent["dtype"]).reshape(latent["shape"])

    send("reset", {"session_id": "hand", "seed": 1})
    return step


def by_sdk(client: DreamClient) -> Step:
    """Return a step through the SDK."""
    dream = client.dream(seed=1)
    return lambda: dream.step(1, observation=FRAME)


def median_ms(step: Step, steps: int) -> float:
    """Return the median time of a step, in ms."""
    took_s = []
    for _ in range(steps):
        began_s = time.perf_counter()
        step()
        took_s.append(time.perf_counter() - began_s)
    return 1e3 * statistics.median(took_s)


@contextmanager
def sending(step: Step) -> Iterator[None]:
    """Take steps without a pause until the block ends."""
    end, failed = threading.Event(), []

    def run() -> None:
        try:
            while not end.is_set():
                step()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(30)
    if failed:
        sys.exit(f"a step failed: {failed[0]}")


def others_p99_ms(port: int, seconds: float, watch: Watch, pid: int) -> float:
    """Return the 99th percentile of the steps of others, in ms."""
    return load.measured_steps("dreamserve", port, 16, seconds, watch, pid).p99_ms


def main() -> None:
    """Measure in rounds and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    port, watch = load.free_port(), Watch()
    took_ms: dict[str, list[float]] = {}
    alone_ms, beside_ms = [], []
    with (
        load.serving(load.dreamserve(TAKECOVER, port), port) as pid,
        ExitStack() as stack,
    ):
        stack.enter_context(pinned(load.LOAD_CORE))
        url, open_ = f"http://127.0.0.1:{port}", stack.enter_context
        ways = {
            BY_HAND: by_hand(port, open_(httpx.Client())),
            SDK: by_sdk(open_(DreamClient(url))),
            OVER_STREAM: by_sdk(open_(DreamClient(url, transport="stream"))),
            AS_JSON: by_sdk(open_(DreamClient(url, encoding="json"))),
        }
        for _ in range(arguments.rounds):
            for name, step in ways.items():
                # A frame as JSON takes some 50 times as long.
                steps = arguments.steps if name != AS_JSON else arguments.steps // 10
                took = watch.measure(partial(median_ms, step, steps), pid)
                took_ms.setdefault(name, []).append(took)
            alone_ms.append(others_p99_ms(port, arguments.seconds, watch, pid))
            with sending(ways[SDK]):
                beside_ms.append(others_p99_ms(port, arguments.seconds, watch, pid))
    report(took_ms, alone_ms, beside_ms)
    print_circumstances(["httpx", "msgpack", "onnxruntime"], watch=watch)


def report(took_ms: dict[str, list[float]], alone_ms: list[float], beside_ms: list[float]) -> None:
    """Print what was found, and whether the claims hold; ratios are medians of the rounds' own."""
    hand = took_ms[BY_HAND]
    ratios = {name: _ratio(times, hand) for name, times in took_ms.items()}
    rows = [[name, spread(times, ".2f"), f"{ratios[name]:.2f}"] for name, times in took_ms.items()]
    print_table(["a step with a frame", "ms", "times by hand"], rows)
    beside = _ratio(beside_ms, alone_ms)
    print()
    rows = [["alone", spread(alone_ms, ".2f"), "1"]]
    rows += [["beside such steps", spread(beside_ms, ".2f"), f"{beside:.2f}"]]
    print_table(["steps of others", "p99 ms", "times alone"], rows)
    print()
    claim = f"the SDK at most {TIMES_BY_HAND:g} times by hand ({ratios[SDK]:.2f})"
    print(verdict(claim, ratios[SDK] <= TIMES_BY_HAND))
    claim = f"others' p99 at most {TIMES_ALONE:g} times alone ({beside:.2f})"
    print(verdict(claim, beside <= TIMES_ALONE))


def _ratio(times: list[float], base: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(times, base, strict=True))


if __name__ == "__main__":
    main()
