"""Does planning in the dream keep an agent alive in the real game, and in time?

    python benchmarks/takecover.py                    # 100 episodes at full speed, and random
    python benchmarks/takecover.py --real-time        # 35 decisions a second, late ones counted
    python benchmarks/takecover.py --guided           # plans start from the bundle's policy

The claims: over 100 episodes with seeds not used in training, an agent that only calls /step with
the real frames and /plan lives at least 3 times as long as random actions do in the same episodes;
and in real time it misses less than 1 % of its deadlines.

With `--guided` the policy also goes on after the actions of a plan, and plays the same episodes by
itself, as the only candidate of /plan: the difference, paired by episode, is what planning adds.

With `--real-time` the game does not wait: if a decision is not ready when the next frame is due,
the last action stays in force. Server and game share two cores.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import load
from dreamserve_client import DreamClient
from dreamserve_training.data.agents import BlindAgent
from dreamserve_training.data.policies import random_actions
from dreamserve_training.data.workers import worker_env
from dreamserve_training.envs import EnvSpec
from dreamserve_training.evaluation.differences import paired
from dreamserve_training.evaluation.real import EpisodeResults, play
from dreamserve_training.probe import probe
from dreamserve_training.recipe_files import load_recipe
from dreamserve_training.runs.pools import worker_pool
from tables import print_circumstances, print_table, told, verdict

TAKECOVER = Path(__file__).parents[1] / "bundles" / "takecover"
SEED = 1_000_000  # far above the seeds of training
HERTZ = 35
MIN_TIMES_RANDOM, MAX_MISSED_SHARE = 3.0, 0.01
BUDGET_MS = 15.0  # of the 28.6 between frames; the rest is for /step and HTTP
PLAN = {
    "planner": "random_shooting",
    "horizon": 5,
    "action_repeat": 10,
    "candidates": 24,
    "temperature": 0.0,  # deterministic, so that candidates differ only by their actions
    "discount": 1.0,
}
# A few plans of two actions, each followed by the policy: what deviates from it must pay at once.
GUIDED = {
    "planner": "random_shooting",
    "policy": "bundled",
    "policy_steps": 100,
    "horizon": 2,
    "action_repeat": 8,
    "candidates": 9,
    "temperature": 0.0,
    "discount": 1.0,
}
POLICY_ALONE = {"policy": "bundled", "planner": "random_shooting", "horizon": 1, "candidates": 1}
UInt8 = npt.NDArray[np.uint8]


@dataclass
class PlanningAgent:
    """Corrects its dream with every real frame, and takes the first action of a plan."""

    client: DreamClient
    fields: dict[str, Any]
    took_s: list[float] = field(default_factory=list)  # from a frame to its action

    def begin(self, frame: UInt8, seed: int) -> None:
        """Start the dream at the real frame."""
        self.dream = self.client.dream(seed=seed, start={"frames": frame[None]})

    def act(self) -> int:
        """Return the first action of a plan."""
        return int(self.dream.plan(**self.fields).action)

    def see(self, action: int, frame: UInt8) -> None:
        """Correct the dream with the frame that followed the action."""
        self.dream.step(action, observation=frame)


@dataclass(frozen=True)
class Episode:
    """The results of one episode."""

    length: float
    took_s: list[float]
    missed: int = 0


def play_in_time(game: EnvSpec, agent: PlanningAgent, seed: int) -> Episode:
    """Play one episode at 35 frames a second; the game does not wait."""
    env = worker_env(game)
    frame: Any = env.reset(seed)
    agent.begin(frame, seed)
    took_s, missed, length, action = [], 0, 0.0, 0
    tick_s = 1 / HERTZ
    due_s = time.perf_counter()
    while length < game.max_episode_steps:
        last, began_s = action, time.perf_counter()
        if length:
            agent.see(last, frame)
        action = agent.act()
        took_s.append(time.perf_counter() - began_s)
        due_s += tick_s
        if time.perf_counter() > due_s:
            missed += 1
            action = last  # the action in force when the frame was due
            due_s = max(due_s, time.perf_counter())
        time.sleep(max(0.0, due_s - time.perf_counter()))
        frame, reward, terminated, truncated, _ = env.step(action)
        length += float(reward)
        if terminated or truncated:
            break
    agent.dream.close()
    return Episode(length, took_s, missed)


@contextmanager
def _no_long_collections() -> Iterator[None]:
    """Exclude imported objects from garbage collection, which would take 25 ms in the game."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()  # frozen objects are not finalised: the game would outlive its process


def play_planned(
    game: EnvSpec, base_url: str, fields: dict[str, Any], seed: int, real_time: bool
) -> Episode:
    """Play one episode in this process."""
    with DreamClient(base_url) as client:
        agent = PlanningAgent(client, fields)
        if real_time:
            with _no_long_collections():
                return play_in_time(game, agent, seed)
        began_s = time.perf_counter()
        _, length = play(worker_env(game), agent, seed)
        agent.dream.close()
        return Episode(length, [(time.perf_counter() - began_s) / max(length, 1)])


def play_random(game: EnvSpec, seed: int) -> int:
    """Play one episode at random."""
    return play(worker_env(game), BlindAgent(random_actions, game.action_space), seed)[1]


def measure(args: argparse.Namespace) -> tuple[list[int], dict[str, list[Episode]]]:
    """Return the random agent's survival times, and the episodes of those that plan, by name."""
    asked = probe(load_recipe("takecover")).env
    game = replace(asked, max_episode_steps=args.max_steps, record=None)
    seeds = [SEED + i for i in range(args.episodes)]
    port = load.free_port()
    # In real time the game has a core to itself, as it would have a machine.
    workers = 1 if args.real_time else 2
    cores = [load.SERVER_CORE] if args.real_time else [load.SERVER_CORE, load.LOAD_CORE]
    with (
        load.serving(load.dreamserve(TAKECOVER, port), port, cores=",".join(map(str, cores))),
        worker_pool(workers) as pool,
    ):
        random = list(pool.map(partial(play_random, game), seeds))
        url = f"http://127.0.0.1:{port}"
        return random, {
            name: _played(pool, partial(play_planned, game, url, fields), seeds, args.real_time)
            for name, fields in args.plans.items()
        }


def _played(
    pool: Executor, play_one: Callable[[int, bool], Episode], seeds: list[int], real_time: bool
) -> list[Episode]:
    jobs = [pool.submit(play_one, seed, real_time) for seed in seeds]
    for done, job in enumerate(as_completed(jobs), 1):
        so_far = np.mean([other.result().length for other in jobs if other.done()])
        print(f"{done} of {len(jobs)}: {job.result().length:g}, mean {so_far:.0f}", file=sys.stderr)
    return [job.result() for job in jobs]


def print_returns(
    random: list[int], episodes: dict[str, list[Episode]], max_steps: int
) -> dict[str, float]:
    """Print a table of the agents' survival times; return their means."""
    lengths = {name: [each.length for each in played] for name, played in episodes.items()}
    results = {
        name: EpisodeResults(times, times) for name, times in {"random": random, **lengths}.items()
    }
    rows, means = [], {}
    for name, played in results.items():
        summary = played.summary(max_steps)
        means[name] = summary["mean"]
        rows.append([name, *(told(summary[key]) for key in ("mean", "standard_error", "median"))])
    if "policy" in results:
        more = paired(results["planned"], results["policy"])
        figures = (told(more[key]) for key in ("mean", "standard_error"))
        rows.append(["planned - policy", *figures, ""])
    print_table(["agent", "mean steps", "standard error", "median"], rows)
    return means


def main() -> None:
    """Play, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--max-steps", type=int, default=2100)
    parser.add_argument("--real-time", action="store_true")
    parser.add_argument("--guided", action="store_true", help="by the bundle's policy")
    parser.add_argument("--plan", type=json.loads, default={}, help="other fields of /plan, JSON")
    args = parser.parse_args()
    plan = GUIDED if args.guided else PLAN
    plan = plan | ({"budget_ms": BUDGET_MS} if args.real_time else {}) | args.plan
    args.plans = {**({"policy": POLICY_ALONE} if args.guided else {}), "planned": plan}
    random, episodes = measure(args)
    planned = episodes["planned"]
    print(f"TakeCover, {args.episodes} episodes; {plan}\n")
    means = print_returns(random, episodes, args.max_steps)
    times = means["planned"] / means["random"]
    claim = f"\nlives at least {MIN_TIMES_RANDOM:g} times as long as random ({times:.2f})"
    print(verdict(claim, times >= MIN_TIMES_RANDOM))
    took_ms = 1e3 * np.concatenate([episode.took_s for episode in planned])
    print(f"from frame to action: median {np.median(took_ms):.1f} ms", end="")
    if args.real_time:
        decisions, missed = len(took_ms), sum(episode.missed for episode in planned)
        share = missed / decisions
        print(f", p99 {np.percentile(took_ms, 99):.1f} ms, longest {took_ms.max():.1f} ms")
        claim = f"{missed} of {decisions:,} deadlines of {1e3 / HERTZ:.1f} ms missed ({share:.2%})"
        print(verdict(f"{claim}; less than {MAX_MISSED_SHARE:.0%}", share < MAX_MISSED_SHARE))
    print_circumstances(["onnxruntime", "vizdoom"])


if __name__ == "__main__":
    main()
