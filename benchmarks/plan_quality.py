"""How good are the plans: beside the optimum, and beside those of mbrl-lib and torchrl?

    python benchmarks/plan_quality.py                      # about 20 minutes
    python benchmarks/plan_quality.py --candidates 128 --iterations 4 --no-peers

Worlds are linear systems with quadratic costs, whose best plan is known: three systems of a size,
ten starts, three seeds, without chance and undiscounted. Their bounds are so wide that no best
action meets them, or cut some, or cut many. Peers plan on the same bundles' TorchScript step
(`peers/plan_quality.py`). Beside peers all planners of a kind evaluate the same number of sequences
(iCEM's population, which decays, is chosen so); beside the optimum dreamserve's have their own
default budgets. What a plan is worth is computed from its actions in float64.

    share    (value - value of doing nothing) / (optimum - value of doing nothing), 1 for the best
    costs    the plan's costs, as values are none but costs, by the least there could be
    lost     1 - share: what remains to be gained

A peer's settings are those of its variants that come out best in that world, known only afterwards.
The claim: the median share is no lower than that of the peers' planners of the same kind.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import load
from dreamserve.local import LocalClient
from dreamserve.planning.catalog import PLANNERS
from dreamserve_protocol.common import Start
from dreamserve_training.evaluation.analytic import LinearQuadratic, random_system, write_world
from tables import print_circumstances, print_table, verdict

SIZES = {  # and the horizon
    "4 states, 1 action": (4, 1, 3),
    "4 states, 2 actions": (4, 2, 15),
    "12 states, 6 actions": (12, 6, 20),
}
BOUNDS = (10.0, 1.0, 0.25)
KINDS = {"cem": ("mbrl", "torchrl"), "icem": ("mbrl",), "mppi": ("mbrl", "torchrl")}
LIBRARIES = {"mbrl": "mbrl-lib", "torchrl": "torchrl"}
Values = npt.NDArray[np.float64]
Sizes = dict[str, int]  # candidates and iterations


class Plans(NamedTuple):
    """How many systems of a kind, starts in each, and seeds from each start."""

    systems: int
    starts: int
    seeds: int

    @property
    def count(self) -> int:
        """Of plans in one world."""
        return self.systems * self.starts * self.seeds


class Judged(NamedTuple):
    """What plans are worth, for each system, start and seed."""

    shares: Values
    costs: Values
    evaluations: int  # for one plan


@dataclass
class World:
    """Systems of a size and with the same bounds, and what was found in them."""

    name: str
    horizon: int
    untold: dict[str, Judged] = field(default_factory=dict)  # dreamserve's, with their own budgets
    ours: dict[str, Judged] = field(default_factory=dict)  # and with the peers'
    peers: dict[tuple[str, str, str], Judged] = field(default_factory=dict)

    def best_peer(self, library: str, planner: str) -> tuple[str, Judged]:
        """Return a peer's best variant and what it found."""
        own = {key[2]: found for key, found in self.peers.items() if key[:2] == (library, planner)}
        best = max(own, key=lambda variant: float(np.median(own[variant].shares)))
        return best, own[best]


class Judge:
    """Knows what plans in a system are worth: (starts, seeds, H, A)."""

    def __init__(self, system: LinearQuadratic, horizon: int) -> None:
        self.system = system
        nothing = np.zeros((horizon, len(system.low)))
        self.nothing = np.array([system.value(start, nothing) for start in system.starts])[:, None]
        optima = [system.best(start, horizon) for start in system.starts]
        self.best = np.array([optimum.value for optimum in optima])[:, None]

    def judge(self, actions: npt.ArrayLike, evaluations: int) -> Judged:
        """Return what the plans are worth; NaN in a plan makes it worth nothing at all."""
        plans = np.asarray(actions, np.float64)
        pairs = zip(self.system.starts, plans, strict=True)
        values = np.array([self.system.value(start, plan) for start, plan in pairs])
        values = np.where(np.isfinite(values), values, -np.inf)
        shares = (values - self.nothing) / (self.best - self.nothing)
        return Judged(shares, values / self.best, evaluations)


def ours(
    bundle: Path, horizon: int, plans: Plans, sizes: Sizes
) -> dict[str, tuple[list[Any], int]]:
    """Return each planner's plans, (starts, seeds, H, A), and its evaluations for one."""
    dream, found = LocalClient(bundle), {}
    asked = {"horizon": horizon, "discount": 1.0, "warm_start": False, **sizes}
    sessions = [
        dream.reset(start=Start(bank=start), temperature=0.0).session_id
        for start in range(plans.starts)
    ]
    for planner in PLANNERS:
        made = [
            [
                dream.plan(session_id=name, planner=planner, seed=seed, **asked)
                for seed in range(plans.seeds)
            ]
            for name in sessions
        ]
        actions = [[plan.actions for plan in seeds] for seeds in made]
        found[planner] = actions, made[0][0].evaluations
    return found


def theirs(
    bundle: Path, horizon: int, plans: Plans, sizes: Sizes, icem_evaluations: int
) -> list[dict[str, Any]]:
    """Return what the peers' script prints."""
    asked = {**sizes, "horizon": horizon, "starts": plans.starts, "seeds": plans.seeds}
    asked |= {"icem-evaluations": icem_evaluations}
    command = [load.peers_python(), str(load.HERE / "peers" / "plan_quality.py"), str(bundle)]
    command += [f"--{name}={value}" for name, value in asked.items()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{ran.stderr[-4000:]}")
    found: list[dict[str, Any]] = json.loads(ran.stdout.splitlines()[-1])
    return found


def measure(
    name: str,
    size: tuple[int, int, int],
    bound: float,
    plans: Plans,
    sizes: Sizes,
    peers: bool,
) -> World:
    """Let all plan in the systems of a size and bound."""
    states, components, horizon = size
    world = World(name, horizon)
    for seed in range(plans.systems):
        system = random_system(seed, states, components, bound, starts=plans.starts)
        judge = Judge(system, horizon)
        with tempfile.TemporaryDirectory() as folder:
            bundle = write_world(Path(folder, "system"), system)
            untold = ours(bundle, horizon, plans, {})
            mine = ours(bundle, horizon, plans, sizes)
            others = theirs(bundle, horizon, plans, sizes, mine["icem"][1]) if peers else []
        for planner, found in untold.items():
            _add(world.untold, planner, judge.judge(*found))
        for planner, found in mine.items():
            _add(world.ours, planner, judge.judge(*found))
        for one in others:
            key = one["library"], one["planner"], one["variant"]
            _add(world.peers, key, judge.judge(one["actions"], one["evaluations"]))
        print(f"{name}: system {seed + 1} of {plans.systems}", file=sys.stderr)
    return world


def _add(into: dict[Any, Judged], key: Any, found: Judged) -> None:
    before = into.get(key)
    shares, costs = found.shares.ravel(), found.costs.ravel()
    if before is not None:
        shares = np.concatenate([before.shares, shares])
        costs = np.concatenate([before.costs, costs])
    into[key] = Judged(shares, costs, found.evaluations)


def print_optimum(worlds: list[World]) -> None:
    """Print how near dreamserve's planners come to the best there is."""
    columns = ["world", "planner", "evaluations", "share", "least share", "costs"]
    rows = [
        [
            world.name,
            planner,
            f"{found.evaluations:,}",
            f"{np.median(found.shares):.4f}",
            f"{found.shares.min():.4f}",
            f"{np.median(found.costs):.3f}",
        ]
        for world in worlds
        for planner, found in world.untold.items()
    ]
    print_table(columns, rows)


def print_peers(worlds: list[World]) -> None:
    """Print dreamserve's planners beside the peers', and whether the claim holds."""
    columns = ["world", "planner", "share", "peer", "its share", "we win", "it loses, times ours"]
    rows, verdicts = [], []
    for planner, libraries in KINDS.items():
        for library in libraries:
            held = 0
            for world in worlds:
                mine, (variant, its) = world.ours[planner], world.best_peer(library, planner)
                medians = float(np.median(mine.shares)), float(np.median(its.shares))
                held += medians[0] >= medians[1]
                rows.append(
                    [
                        world.name,
                        planner,
                        f"{medians[0]:.4f}",
                        f"{LIBRARIES[library]} ({variant})",
                        f"{medians[1]:.4f}",
                        f"{np.mean(mine.shares > its.shares):.0%}",
                        f"{(1 - medians[1]) / (1 - medians[0]):.2f}",
                    ]
                )
            claim = f"{planner} no lower than {LIBRARIES[library]}'s in {held} of {len(worlds)}"
            verdicts.append(verdict(f"{claim} worlds", held == len(worlds)))
    print_table(
        columns, sorted(rows, key=lambda row: [world.name for world in worlds].index(row[0]))
    )
    print("\n" + "\n".join(verdicts))


def main() -> None:
    """Plan in all worlds and print two tables, or one without peers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--candidates", type=int, default=512, help="beside peers")
    parser.add_argument("--iterations", type=int, default=6, help="beside peers")
    parser.add_argument("--systems", type=int, default=3, help="of a size and bound")
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=SIZES, default=list(SIZES), nargs="+")
    parser.add_argument("--bounds", type=float, default=BOUNDS, nargs="+")
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    asked = parser.parse_args()
    plans = Plans(asked.systems, asked.starts, asked.seeds)
    sizes = {"candidates": asked.candidates, "iterations": asked.iterations}
    worlds = [
        measure(f"{name}, ±{bound:g}", SIZES[name], bound, plans, sizes, asked.peers)
        for name in asked.only
        for bound in asked.bounds
    ]
    print(f"Beside the optimum, own budgets: medians of {plans.count} plans\n")
    print_optimum(worlds)
    if asked.peers:
        said = f"{asked.candidates} candidates, {asked.iterations} iterations"
        print(f"\nBeside peers, {said}: medians of {plans.count} plans\n")
        print_peers(worlds)
    print_circumstances(["onnxruntime"], ["mbrl", "torchrl", "torch"], cores="one at work")


if __name__ == "__main__":
    main()
