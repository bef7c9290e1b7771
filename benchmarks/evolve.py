"""What does it cost to evolve a controller over HTTP, and how much of that does /rollout save?

    python benchmarks/evolve.py                        # 3 generations; about 5 minutes
    python benchmarks/evolve.py --generations 1 --max-steps 100

CMA-ES (the package `cma`), 64 candidates x 16 episodes of 200 steps a generation, on a world whose
dreams never end: 204,800 steps. A candidate is linear and reads the latent, since /step/batch does
not return the recurrent state. Each generation is evaluated by five methods, on the same candidates
and seeds; all returns must be equal bit for bit:

    /rollout       one request, through the SDK
    /step/batch    one request of 1,024 rows per step, through the SDK; actions are computed here
    ... by hand    the same without the SDK, in msgpack too
    /step          one request per step, through the SDK; only `--slice` steps are taken and the
                   time of a generation is extrapolated
    in process     the faster of `LocalClient.rollout` and a `DreamBatch` loop, on the server's core

The claims: /rollout is at least 20 times as fast as /step, at least 3 times as fast as /step/batch
through the SDK, and reaches 0.8 of the rate in process. The server has core 0, the client core 1.
A time covers asking the strategy, evaluating its candidates and telling it the results. A ratio is
the median of the ratios of all generations.
"""

import argparse
import http.client
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

import load
import packed
from bare import pinned
from contention import Watch
from dreamserve.engine.imagination.policy_runners import linear_scores
from dreamserve.engine.world import World
from dreamserve.loading import load_world
from dreamserve.local import DreamBatch, LocalClient
from dreamserve_client import DreamClient
from dreamserve_protocol.policies import LinearPolicy
from tables import print_circumstances, print_table, spread, verdict
from worlds import bundle_of

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Could not import matplotlib", UserWarning)
    import cma

WORLD, ACTIONS, LATENT = "lstm256-z32", 3, 32
CANDIDATES, EPISODES, TEMPERATURE, SIGMA = 64, 16, 1.0, 0.1
ROLLOUT, BATCH, BY_HAND, SINGLE, ROLLED, LOCKSTEP = (
    "/rollout",
    "/step/batch",
    "/step/batch by hand, msgpack",
    "/step",
    "in process, LocalClient.rollout",
    "in process, DreamBatch",
)
IN_PROCESS = (ROLLED, LOCKSTEP)
CLAIMS = {SINGLE: 20.0, BATCH: 3.0}
MIN_SHARE_OF_IN_PROCESS = 0.8
Float32 = npt.NDArray[np.float32]
Returns = npt.NDArray[np.float64]


class Generation:
    """The candidates of one generation, and the seeds of their episodes."""

    def __init__(self, candidates: list[npt.NDArray[np.float64]], number: int, steps: int) -> None:
        table = np.stack(candidates).reshape(CANDIDATES, ACTIONS, -1).astype(np.float32)
        self.weights, self.bias = table[..., :-1].copy(), table[..., -1].copy()
        self.seeds = np.arange(number * EPISODES, (number + 1) * EPISODES)
        self.steps = steps
        self.row_seeds = np.tile(self.seeds, CANDIDATES)
        self._row_weights = self.weights.repeat(EPISODES, axis=0)
        self._row_bias = self.bias.repeat(EPISODES, axis=0)

    def act(self, latents: Float32, rows: slice = slice(None)) -> npt.NDArray[np.int64]:
        """Return the actions (B,) in latents (B, Z); `rows` selects candidates' episodes."""
        scores = linear_scores(latents, self._row_weights[rows], self._row_bias[rows])
        actions: npt.NDArray[np.int64] = np.argmax(scores, axis=1)
        return actions


def by_rollout(client: DreamClient, gen: Generation) -> Returns:
    """Return the returns (P, E), from one request."""
    policy: Any = {"kind": "linear", "weights": gen.weights, "bias": gen.bias, "inputs": ["latent"]}
    rolled = client.rollout(
        policy=policy, seeds=gen.seeds, max_steps=gen.steps, temperature=TEMPERATURE
    )
    return rolled.returns


def in_lockstep(
    gen: Generation, latents: Float32, step: Callable[[Any], tuple[Any, Any, Any]]
) -> Returns:
    """Return the returns (steps, P, E) after each step; `step` maps actions to (latents, rewards,
    ended)."""
    returns, sums = np.zeros(len(latents)), []
    for _ in range(gen.steps):
        latents, rewards, ended = step(gen.act(latents))
        if np.any(ended):
            sys.exit("a dream has ended, but this world's dreams never end")
        returns = returns + rewards
        sums.append(returns)
    return np.stack(sums).reshape(gen.steps, CANDIDATES, EPISODES)


def by_batches(client: DreamClient, gen: Generation) -> Returns:
    """Return the returns (steps, P, E), from one request of all rows per step."""
    ids = [f"row{i}" for i in range(len(gen.row_seeds))]
    temps = np.full(len(ids), TEMPERATURE)
    started = client.reset_batch(session_ids=ids, seeds=gen.row_seeds, temperatures=temps)

    def step(actions: Any) -> tuple[Any, Any, Any]:
        result = client.step_batch(ids, actions)
        if result.errors:
            sys.exit(f"rows failed: {result.errors}")
        return result.latents, result.rewards, result.terminated

    return in_lockstep(gen, started.latents, step)


def by_hand(port: int, gen: Generation) -> Returns:
    """Return the same as `by_batches`, by msgpack over a plain HTTP connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}

    def post(path: str, fields: dict[str, Any]) -> dict[str, Any]:
        connection.request("POST", path, packed.pack(fields), headers)
        result: dict[str, Any] = msgpack.unpackb(
            connection.getresponse().read(), object_hook=_unpacked
        )
        return result

    ids = [f"row{i}" for i in range(len(gen.row_seeds))]
    temps = np.full(len(ids), TEMPERATURE)
    seeds = gen.row_seeds
    started = post("/reset/batch", {"session_ids": ids, "seeds": seeds, "temperatures": temps})

    def step(actions: Any) -> tuple[Any, Any, Any]:
        result = post("/step/batch", {"session_ids": ids, "actions": actions})
        return result["latents"], result["rewards"], result["terminated"]

    returns = in_lockstep(gen, started["latents"], step)
    connection.close()
    return returns


def _unpacked(value: dict[str, Any]) -> Any:
    if value.keys() == {"dtype", "shape", "data"}:
        return np.frombuffer(value["data"], value["dtype"]).reshape(value["shape"])
    return value


def by_steps(client: DreamClient, gen: Generation, slice_steps: int) -> float:
    """Return the return of the first candidate's first episode after `slice_steps` steps."""
    started = client.reset(session_id="one", seed=int(gen.seeds[0]), temperature=TEMPERATURE)
    latent, total = started.latent, 0.0
    for _ in range(slice_steps):
        result = client.step("one", int(gen.act(latent[None], slice(0, 1))[0]))
        latent, total = result.latent, total + result.reward
    return total


def by_dream_rollout(dream: LocalClient, gen: Generation) -> Returns:
    """Return the returns (P, E), computed in this process."""
    policy = LinearPolicy(gen.weights, gen.bias, ("latent",))
    returns: Returns = dream.rollout(
        policy=policy, seeds=gen.seeds, max_steps=gen.steps, temperature=TEMPERATURE
    ).returns
    return returns


def by_dream_batch(world: World, gen: Generation) -> Returns:
    """Return the returns (steps, P, E), computed in this process in lockstep."""
    dreams = DreamBatch(world, gen.row_seeds, TEMPERATURE)

    def step(actions: Any) -> tuple[Any, Any, Any]:
        rewards, ended = dreams.step(actions)
        return dreams.latent, rewards, ended

    return in_lockstep(gen, dreams.latent, step)


class Methods:
    """Evaluates a generation by every method and times each."""

    def __init__(self, port: int, pid: int, slice_steps: int, watch: Watch) -> None:
        self.port, self.pid, self.slice_steps, self.watch = port, pid, slice_steps, watch
        self.client = DreamClient(f"http://127.0.0.1:{port}", timeout_s=300, max_retries=0)
        self.world = load_world(bundle_of(WORLD), "onnx", threads=1)
        self.dream = LocalClient(self.world)
        self.dream.engine.warm()

    def evaluate(self, gen: Generation) -> tuple[dict[str, float], Returns]:
        """Return the seconds of each method, and the returns (P, E) on which all agree."""
        seconds: dict[str, float] = {}
        returns: dict[str, Returns] = {}
        runs: dict[str, Callable[[], Returns]] = {
            ROLLOUT: lambda: by_rollout(self.client, gen),
            BATCH: lambda: by_batches(self.client, gen),
            BY_HAND: lambda: by_hand(self.port, gen),
            ROLLED: lambda: by_dream_rollout(self.dream, gen),
            LOCKSTEP: lambda: by_dream_batch(self.world, gen),
        }
        for name, run in runs.items():
            seconds[name], returns[name] = self._timed(run, name in IN_PROCESS)
        took_s, total = self._timed(lambda: by_steps(self.client, gen, self.slice_steps), False)
        steps = CANDIDATES * EPISODES * gen.steps
        seconds[SINGLE] = took_s * steps / self.slice_steps
        self._must_agree(returns, total)
        return seconds, returns[ROLLOUT]

    def _timed(self, run: Callable[[], Any], in_process: bool) -> tuple[float, Any]:
        def timed() -> tuple[float, Any]:
            began_s = time.perf_counter()
            result = run()
            return time.perf_counter() - began_s, result

        def on_the_servers_core() -> tuple[float, Any]:
            with pinned(load.SERVER_CORE):
                return timed()

        if in_process:
            return self.watch.measure(on_the_servers_core)
        return self.watch.measure(timed, self.pid)

    def _must_agree(self, returns: dict[str, Returns], total: float) -> None:
        for name, found in returns.items():
            if not np.array_equal(found if found.ndim == 2 else found[-1], returns[ROLLOUT]):
                sys.exit(f"the returns of {name} differ from those of {ROLLOUT}")
        if total != returns[LOCKSTEP][self.slice_steps - 1, 0, 0]:
            sys.exit(f"the return of {SINGLE} differs from that of {LOCKSTEP}")


def evolve(methods: Methods, generations: int, max_steps: int) -> dict[str, list[float]]:
    """Return the seconds of each generation, by method."""
    rng = np.random.default_rng(0)
    options = {"popsize": CANDIDATES, "verbose": -9, "seed": np.nan}
    options["randn"] = lambda *shape: rng.standard_normal(shape)
    start = np.zeros(ACTIONS * (LATENT + 1))
    strategy = cma.CMAEvolutionStrategy(start, SIGMA, options)
    times: dict[str, list[float]] = {}
    for number in range(generations):
        began_s = time.perf_counter()
        candidates = strategy.ask()
        asked_s = time.perf_counter() - began_s
        seconds, returns = methods.evaluate(Generation(candidates, number, max_steps))
        began_s = time.perf_counter()
        strategy.tell(candidates, list(-returns.mean(axis=1)))
        own_s = asked_s + time.perf_counter() - began_s
        for name, took_s in seconds.items():
            times.setdefault(name, []).append(own_s + took_s)
        text = ", ".join(f"{name} {took[-1]:.1f} s" for name, took in times.items())
        print(f"generation {number + 1}: mean return {returns.mean():.2f}; {text}", file=sys.stderr)
    return times


def _speedup(times: dict[str, list[float]], method: str) -> float:
    pairs = zip(times[method], times[ROLLOUT], strict=True)
    return statistics.median(other / ours for other, ours in pairs)


def main() -> None:
    """Evolve the controller and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--generations", type=int, default=3)
    parser.add_argument("--max-steps", type=int, default=200)
    parser.add_argument("--slice", type=int, default=200, help="steps to take through /step")
    arguments = parser.parse_args()
    if not 1 <= arguments.slice <= arguments.max_steps:
        parser.error("--slice must be from 1 to --max-steps")
    watch, port = Watch(), load.free_port()
    with (
        pinned(load.LOAD_CORE),
        load.serving(load.dreamserve(bundle_of(WORLD), port), port) as pid,
    ):
        methods = Methods(port, pid, arguments.slice, watch)
        times = evolve(methods, arguments.generations, arguments.max_steps)
    steps = CANDIDATES * EPISODES * arguments.max_steps
    print(f"{WORLD}, {CANDIDATES} candidates x {EPISODES} episodes x {arguments.max_steps} steps\n")
    rows = []
    for name, took in times.items():
        shown = f"{name} (from {arguments.slice} steps)" if name == SINGLE else name
        rate = [1 / took_s for took_s in took]
        line = [shown, spread(took, ".2f"), spread(rate, ".4f"), f"{steps * max(rate):,.0f}"]
        rows.append([*line, f"{_speedup(times, name):.2f}"])
    columns = [
        "method",
        "s a generation",
        "generations/s",
        "steps/s, best",
        "times /rollout's s",
    ]
    print_table(columns, rows)
    print()
    for name, least in CLAIMS.items():
        faster = _speedup(times, name)
        print(
            verdict(f"at least {least:.0f} times as fast as {name} ({faster:.1f})", faster >= least)
        )
    share = min(_speedup(times, name) for name in IN_PROCESS)
    claim = f"at least {MIN_SHARE_OF_IN_PROCESS} of the rate in process ({share:.2f})"
    print(verdict(claim, share >= MIN_SHARE_OF_IN_PROCESS))
    print_circumstances(["onnxruntime", "cma"], watch=watch)


if __name__ == "__main__":
    main()
