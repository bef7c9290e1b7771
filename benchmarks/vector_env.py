"""What does a vector environment of dreams cost beside the engine that dreams them?

    python benchmarks/vector_env.py                          # 5 rounds of 3 s; about 3 minutes
    python benchmarks/vector_env.py --worlds takecover --rounds 1

256 dreams in one request: by the engine alone, LocalClient.step_batch in this process, and by
DreamVectorEnv with NEXT_STEP and RecordEpisodeStatistics, in this process, over HTTP and over the
stream. All take the same actions in the same dreams, which are cut at 200 steps.
Then one dream, by DreamEnv over the stream, beside GET /livez, a route without a model, by httpx.

The claims: over HTTP 0.7 of the engine's rate or more in takecover, 0.5 in lstm256-z32; in process
0.9; a single step over the stream takes at most 2 times the route without a model. The server has
core 0, all else core 1. Ratios are medians of the rounds' own ratios.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import gymnasium
import httpx
import numpy as np
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import load
from bare import pinned
from contention import LOAD_CORE, SERVER_CORE, Watch
from dreamserve.loading import load_world
from dreamserve.local import LocalClient
from dreamserve_client.envs import ENV_ID, DreamEnv
from tables import print_circumstances, print_table, spread, verdict
from worlds import bundle_of

ROWS, STEPS_A_DREAM = 256, 200
CLAIMS = {"takecover": 0.7, "lstm256-z32": 0.5}
IN_PROCESS, TIMES_A_ROUTE = 0.9, 2.0
TAKECOVER = Path(__file__).parents[1] / "bundles" / "takecover"
ENGINE, LOCAL, HTTP, STREAM = "engine", "in process", "HTTP", "stream"
ACTIONS = np.random.default_rng(0).integers(0, 3, (64, ROWS))
Step = Callable[[int], object]


def engine(bundle: Path) -> Step:
    """Return a step of all dreams without an environment."""
    local = LocalClient(load_world(bundle, threads=1))
    ids = local.reset_batch(ROWS, seeds=np.arange(ROWS), max_steps=STEPS_A_DREAM).session_ids
    numbers = np.ones(ROWS, np.int64)

    def step(t: int) -> object:
        taken = local.step_batch(ids, ACTIONS[t % 64], steps=numbers + t, on_end="restart")
        assert not taken.errors
        return taken

    return step


def environment(**options: object) -> tuple[Step, gymnasium.vector.VectorEnv]:
    """Return a step of a vector environment, and the environment."""
    made = gymnasium.make_vec(ENV_ID, ROWS, max_episode_steps=STEPS_A_DREAM, **options)
    envs = RecordEpisodeStatistics(made)
    envs.reset(seed=0)
    return lambda t: envs.step(ACTIONS[t % 64]), envs


def single(port: int) -> tuple[Step, DreamEnv]:
    """Return a step of one dream over the stream, and its environment."""
    env = DreamEnv(f"http://127.0.0.1:{port}", transport="stream")
    env.reset(seed=0)

    def step(t: int) -> object:
        *_, terminated, truncated, _ = env.step(t % 3)
        return env.reset(seed=t) if terminated or truncated else None

    return step, env


def rate(step: Step, seconds: float, first: int) -> tuple[float, int]:
    """Return calls of `step` a second, and the number of the next one."""
    number, began_s = first, time.perf_counter()
    while time.perf_counter() < began_s + seconds:
        step(number)
        number += 1
    return (number - first) / (time.perf_counter() - began_s), number


def median_us(step: Step, count: int) -> float:
    """Return the median time of a call."""
    took_s = []
    for number in range(count):
        began_s = time.perf_counter()
        step(number)
        took_s.append(time.perf_counter() - began_s)
    return 1e6 * statistics.median(took_s[count // 5 :])


@contextmanager
def ways(bundle: Path, port: int) -> Iterator[dict[str, Step]]:
    """Yield a step of each way to dream."""
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as opened:
        steps = {ENGINE: engine(bundle)}
        options = {
            LOCAL: {"bundle": load_world(bundle, threads=1)},
            HTTP: {"base_url": url},
            STREAM: {"base_url": url, "transport": "stream"},
        }
        for name, chosen in options.items():
            steps[name], envs = environment(**chosen)
            opened.callback(envs.close)
        yield steps


def measure(
    bundle: Path, rounds: int, seconds: float, watch: Watch
) -> tuple[dict[str, list[float]], list[tuple[float, float]]]:
    """Return dream steps a second by way, and times of single steps and routes, round by round."""
    port = load.free_port()
    with (
        load.serving(load.dreamserve(bundle, port), port),
        ways(bundle, port) as steps,
        httpx.Client() as http,
    ):
        alone, env = single(port)
        found: dict[str, list[float]] = {name: [] for name in steps}
        singles = []

        def route(number: int) -> object:
            return http.get(f"http://127.0.0.1:{port}/livez")

        count = max(50, int(300 * seconds))
        next_of = dict.fromkeys(steps, 0)
        for number in range(rounds + 1):
            for name, step in steps.items():
                run_s = seconds if number else seconds / 4

                def run(name: str = name, step: Step = step, run_s: float = run_s) -> float:
                    per_s, next_of[name] = rate(step, run_s, next_of[name])
                    return per_s

                found[name].append(ROWS * (watch.measure(run) if number else run()))
            singles.append((median_us(alone, count), median_us(route, count)))
        env.close()
    return {name: rates[1:] for name, rates in found.items()}, singles[1:]


def ratio(found: dict[str, list[float]], name: str) -> float:
    """Return the rate of a way beside the engine's, the median of rounds."""
    pairs = zip(found[name], found[ENGINE], strict=True)
    return statistics.median(one / engine for one, engine in pairs)


def single_verdict(world: str, times_us: list[tuple[float, float]]) -> str:
    """Return what a step of one dream took beside a route without a model."""
    step_us, route_us = (statistics.median(column) for column in zip(*times_us, strict=True))
    times = statistics.median(step / route for step, route in times_us)
    claim = f"{world}, one dream over the stream: {step_us:,.0f} us, {times:.2f} times a route's"
    return verdict(f"{claim} {route_us:,.0f} us, {TIMES_A_ROUTE:g} wanted", times <= TIMES_A_ROUTE)


def main() -> None:
    """Measure in rounds and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--worlds", default="takecover,lstm256-z32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()
    watch = Watch(cores=(SERVER_CORE, LOAD_CORE))
    lines, verdicts = [], []
    with pinned(LOAD_CORE):
        for world in asked.worlds.split(","):
            bundle = TAKECOVER if world == TAKECOVER.name else bundle_of(world)
            found, singles = measure(bundle, asked.rounds, asked.seconds, watch)
            ratios = {name: ratio(found, name) for name in found}
            for name, rates in found.items():
                lines.append([world, name, spread(rates), f"{ratios[name]:.2f}"])
            for name, least in ((HTTP, CLAIMS[world]), (LOCAL, IN_PROCESS)):
                claim = f"{world}, {name}: {ratios[name]:.2f} of the engine's, {least} wanted"
                verdicts.append(verdict(claim, ratios[name] >= least))
            verdicts.append(single_verdict(world, singles))
    print(f"{ROWS} dreams\n")
    print_table(["world", "way", "dream steps/s", "of the engine's"], lines)
    print("\n" + "\n".join(verdicts))
    print_circumstances(["gymnasium", "httpx", "onnxruntime", "websockets"], watch=watch)


if __name__ == "__main__":
    main()
