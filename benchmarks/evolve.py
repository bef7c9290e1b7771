"""What does it cost to evolve a controller over HTTP, and how much of that does /rollout save?

    python benchmarks/evolve.py                        # 3 generations; about 5 minutes
    python benchmarks/evolve.py --generations 1 --max-steps 100

CMA-ES (the package `cma`), 64 candidates x 16 episodes of 200 steps a generation, on a world whose
dreams never end: 204,800 steps. A candidate is linear and reads the latent, which is all that
/step/batch answers. Each generation is valued in five ways, on the same candidates and seeds, and
all returns must agree to the bit:

    /rollout       one request, through the SDK
    /step/batch    a request of 1,024 rows a step, through the SDK; the actions are chosen here
    ... by hand    the same in msgpack and without the SDK, whose form is JSON
    /step          one request a step, through the SDK: so many of its steps are taken as `--slice`
                   says, and its time is what all of them would take at that rate
    in process     the faster of `LocalClient.rollout` and a `DreamBatch` loop, on the server's core

The claims: /rollout is 20 times faster or more than /step, 3 times or more than /step/batch through
the SDK, and evolves at 0.8 or more of the rate in process. The server has core 0, whoever asks
core 1; a time is that of asking the strategy, valuing its candidates and telling it. A ratio is the
median of the generations' own ratios.
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
INSIDE = (ROLLED, LOCKSTEP)
CLAIMS = {SINGLE: 20.0, BATCH: 3.0}
LEAST_OF_INSIDE = 0.8
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
        """Return the actions of `rows`, of all candidates' episodes, in latents (B, Z)."""
        scores = linear_scores(latents, self._row_weights[rows], self._row_bias[rows])
        actions: npt.NDArray[np.int64] = np.argmax(scores, axis=1)
        return actions


def by_rollout(client: DreamClient, of: Generation) -> Returns:
    """Return the returns (P, E), valued by one request."""
    policy: Any = {"kind": "linear", "weights": of.weights, "bias": of.bias, "inputs": ["latent"]}
    rolled = client.rollout(
        policy=policy, seeds=of.seeds, max_steps=of.steps, temperature=TEMPERATURE
    )
    return rolled.returns


def in_lockstep(
    of: Generation, latents: Float32, step: Callable[[Any], tuple[Any, Any, Any]]
) -> Returns:
    """Return the returns (steps, P, E) after each step; `step` maps actions to what came of them:
    latents, rewards and which have ended."""
    returns, sums = np.zeros(len(latents)), []
    for _ in range(of.steps):
        latents, rewards, ended = step(of.act(latents))
        if np.any(ended):
            sys.exit("a dream has ended: this world's never do")
        returns = returns + rewards
        sums.append(returns)
    return np.stack(sums).reshape(of.steps, CANDIDATES, EPISODES)


def by_batches(client: DreamClient, of: Generation) -> Returns:
    """Return the returns (steps, P, E), a request of all rows a step."""
    ids = [f"row{i}" for i in range(len(of.row_seeds))]
    heats = np.full(len(ids), TEMPERATURE)
    begun = client.reset_batch(session_ids=ids, seeds=of.row_seeds, temperatures=heats)

    def step(actions: Any) -> tuple[Any, Any, Any]:
        answer = client.step_batch(ids, actions)
        if answer.errors:
            sys.exit(f"a row could not be done: {answer.errors}")
        return answer.latents, answer.rewards, answer.terminated

    return in_lockstep(of, begun.latents, step)


def by_hand(port: int, of: Generation) -> Returns:
    """Return the same, with nothing between but msgpack and a connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    kind = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}

    def post(path: str, fields: dict[str, Any]) -> dict[str, Any]:
        connection.request("POST", path, packed.pack(fields), kind)
        answer: dict[str, Any] = msgpack.unpackb(
            connection.getresponse().read(), object_hook=_unpacked
        )
        return answer

    ids = [f"row{i}" for i in range(len(of.row_seeds))]
    heats = np.full(len(ids), TEMPERATURE)
    begun = post("/reset/batch", {"session_ids": ids, "seeds": of.row_seeds, "temperatures": heats})

    def step(actions: Any) -> tuple[Any, Any, Any]:
        answer = post("/step/batch", {"session_ids": ids, "actions": actions})
        return answer["latents"], answer["rewards"], answer["terminated"]

    returns = in_lockstep(of, begun["latents"], step)
    connection.close()
    return returns


def _unpacked(value: dict[str, Any]) -> Any:
    if value.keys() == {"dtype", "shape", "data"}:
        return np.frombuffer(value["data"], value["dtype"]).reshape(value["shape"])
    return value


def by_steps(client: DreamClient, of: Generation, slice_steps: int) -> float:
    """Return the return of the first candidate's first episode after `slice_steps` steps."""
    begun = client.reset(session_id="one", seed=int(of.seeds[0]), temperature=TEMPERATURE)
    latent, earned = begun.latent, 0.0
    for _ in range(slice_steps):
        answer = client.step("one", int(of.act(latent[None], slice(0, 1))[0]))
        latent, earned = answer.latent, earned + answer.reward
    return earned


def by_dream_rollout(dream: LocalClient, of: Generation) -> Returns:
    """Return the returns (P, E), dreamt in this process."""
    policy = LinearPolicy(of.weights, of.bias, ("latent",))
    returns: Returns = dream.rollout(
        policy=policy, seeds=of.seeds, max_steps=of.steps, temperature=TEMPERATURE
    ).returns
    return returns


def by_dream_batch(world: World, of: Generation) -> Returns:
    """Return the returns (steps, P, E), dreamt in this process in lockstep."""
    dreams = DreamBatch(world, of.row_seeds, TEMPERATURE)

    def step(actions: Any) -> tuple[Any, Any, Any]:
        rewards, ended = dreams.step(actions)
        return dreams.latent, rewards, ended

    return in_lockstep(of, dreams.latent, step)


class Ways:
    """Every way to value a generation, timed."""

    def __init__(self, port: int, pid: int, slice_steps: int, watch: Watch) -> None:
        self.port, self.pid, self.slice_steps, self.watch = port, pid, slice_steps, watch
        self.client = DreamClient(f"http://127.0.0.1:{port}", timeout_s=300, max_retries=0)
        self.world = load_world(bundle_of(WORLD), "onnx", threads=1)
        self.dream = LocalClient(self.world)
        self.dream.engine.warm()

    def value(self, of: Generation) -> tuple[dict[str, float], Returns]:
        """Return the seconds that each way takes, and the returns that all agree on."""
        seconds: dict[str, float] = {}
        found: dict[str, Returns] = {}
        asked: dict[str, Callable[[], Returns]] = {
            ROLLOUT: lambda: by_rollout(self.client, of),
            BATCH: lambda: by_batches(self.client, of),
            BY_HAND: lambda: by_hand(self.port, of),
            ROLLED: lambda: by_dream_rollout(self.dream, of),
            LOCKSTEP: lambda: by_dream_batch(self.world, of),
        }
        for name, run in asked.items():
            seconds[name], found[name] = self._timed(run, name in INSIDE)
        took_s, earned = self._timed(lambda: by_steps(self.client, of, self.slice_steps), False)
        steps = CANDIDATES * EPISODES * of.steps
        seconds[SINGLE] = took_s * steps / self.slice_steps
        self._must_agree(found, earned)
        return seconds, found[ROLLOUT]

    def _timed(self, run: Callable[[], Any], inside: bool) -> tuple[float, Any]:
        def timed() -> tuple[float, Any]:
            began_s = time.perf_counter()
            found = run()
            return time.perf_counter() - began_s, found

        def on_the_servers_core() -> tuple[float, Any]:
            with pinned(load.SERVER_CORE):
                return timed()

        if inside:
            return self.watch.measure(on_the_servers_core)
        return self.watch.measure(timed, self.pid)

    def _must_agree(self, found: dict[str, Returns], earned: float) -> None:
        whole = found[ROLLOUT]
        for name, returns in found.items():
            if not np.array_equal(returns if returns.ndim == 2 else returns[-1], whole):
                sys.exit(f"{name} finds other returns than {ROLLOUT}")
        if earned != found[LOCKSTEP][self.slice_steps - 1, 0, 0]:
            sys.exit(f"{SINGLE} finds another return than {LOCKSTEP}")


def evolve(ways: Ways, generations: int, max_steps: int) -> dict[str, list[float]]:
    """Return the seconds of each generation, by way."""
    rng = np.random.default_rng(0)
    options = {"popsize": CANDIDATES, "verbose": -9, "seed": np.nan}
    options["randn"] = lambda *shape: rng.standard_normal(shape)
    start = np.zeros(ACTIONS * (LATENT + 1))
    strategy = cma.CMAEvolutionStrategy(start, SIGMA, options)
    taken: dict[str, list[float]] = {}
    for number in range(generations):
        began_s = time.perf_counter()
        candidates = strategy.ask()
        asked_s = time.perf_counter() - began_s
        seconds, returns = ways.value(Generation(candidates, number, max_steps))
        began_s = time.perf_counter()
        strategy.tell(candidates, list(-returns.mean(axis=1)))
        own_s = asked_s + time.perf_counter() - began_s
        for name, took_s in seconds.items():
            taken.setdefault(name, []).append(own_s + took_s)
        said = ", ".join(f"{name} {took[-1]:.1f} s" for name, took in taken.items())
        print(f"generation {number + 1}: mean return {returns.mean():.2f}; {said}", file=sys.stderr)
    return taken


def _times_faster(taken: dict[str, list[float]], than: str) -> float:
    pairs = zip(taken[than], taken[ROLLOUT], strict=True)
    return statistics.median(other / ours for other, ours in pairs)


def main() -> None:
    """Evolve for some generations and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--generations", type=int, default=3)
    parser.add_argument("--max-steps", type=int, default=200)
    parser.add_argument("--slice", type=int, default=200, help="steps taken one request each")
    arguments = parser.parse_args()
    if not 1 <= arguments.slice <= arguments.max_steps:
        parser.error("--slice is from 1 to --max-steps")
    watch, port = Watch(), load.free_port()
    with (
        pinned(load.LOAD_CORE),
        load.serving(load.dreamserve(bundle_of(WORLD), port), port) as pid,
    ):
        ways = Ways(port, pid, arguments.slice, watch)
        taken = evolve(ways, arguments.generations, arguments.max_steps)
    steps = CANDIDATES * EPISODES * arguments.max_steps
    print(f"{WORLD}, {CANDIDATES} candidates x {EPISODES} episodes x {arguments.max_steps} steps\n")
    rows = []
    for name, took in taken.items():
        shown = f"{name} (from {arguments.slice} steps)" if name == SINGLE else name
        rate = [1 / took_s for took_s in took]
        line = [shown, spread(took, ".2f"), spread(rate, ".4f"), f"{steps * max(rate):,.0f}"]
        rows.append([*line, f"{_times_faster(taken, name):.2f}"])
    columns = [
        "valued by",
        "s a generation",
        "generations/s",
        "steps/s, best",
        "times /rollout's s",
    ]
    print_table(columns, rows)
    print()
    for name, least in CLAIMS.items():
        faster = _times_faster(taken, name)
        print(
            verdict(f"{least:.0f} times faster than {name} or more ({faster:.1f})", faster >= least)
        )
    share = min(_times_faster(taken, name) for name in INSIDE)
    claim = f"{LEAST_OF_INSIDE} of the rate in process or more ({share:.2f})"
    print(verdict(claim, share >= LEAST_OF_INSIDE))
    print_circumstances(["onnxruntime", "cma"], watch=watch)


if __name__ == "__main__":
    main()
