"""How good are the plans, beside the optimum and beside those of mbrl-lib and torchrl?

    python benchmarks/plan_quality.py                      # about 20 minutes
    python benchmarks/plan_quality.py --candidates 128 --iterations 4 --no-peers

Worlds are linear systems with quadratic costs, whose best plan is known: three systems of each
size, ten starts, three seeds, deterministic and undiscounted. Their bounds are so wide that no
optimal action reaches them, or cut some, or cut many. Peers plan on the TorchScript step of the
same bundles (`peers/plan_quality.py`). Beside peers, all planners of a kind evaluate the same
number of sequences (iCEM's decaying population is sized for that); beside the optimum, dreamserve's
planners use their default budgets. Values are computed from the actions in float64.

    share    (value - value of doing nothing) / (optimum - value of doing nothing); 1 is optimal
    costs    the plan's costs divided by the least possible
    lost     1 - share: the gain that remains possible

For each peer the best of its variants in that world counts, chosen afterwards.
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

SIZES = {  # name: (states, actions, horizon)
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
    """The numbers of systems of a size, of starts in each, and of seeds from each start."""

    systems: int
    starts: int
    seeds: int

    @property
    def count(self) -> int:
        """The number of plans in one world."""
        return self.systems * self.starts * self.seeds


class PlanValues(NamedTuple):
    """Shares and costs of plans, for each system, start and seed."""

    shares: Values
    costs: Values
    evaluations: int  # of one plan


@dataclass
class World:
    """Systems of one size with the same bounds, and the planners' results in them."""

    name: str
    horizon: int
    default: dict[str, PlanValues] = field(default_factory=dict)  # dreamserve, default budgets
    ours: dict[str, PlanValues] = field(default_factory=dict)  # dreamserve, the peers' budgets
    peers: dict[tuple[str, str, str], PlanValues] = field(default_factory=dict)

    def best_peer(self, library: str, planner: str) -> tuple[str, PlanValues]:
        """Return a peer's best variant and its results."""
        peers = self.peers.items()
        own = {key[2]: values for key, values in peers if key[:2] == (library, planner)}
        best = max(own, key=lambda variant: float(np.median(own[variant].shares)))
        return best, own[best]


class Evaluator:
    """Evaluates plans in a system."""

    def __init__(self, system: LinearQuadratic, horizon: int) -> None:
        self.system = system
        nothing = np.zeros((horizon, len(system.low)))
        self.nothing = np.array([system.value(start, nothing) for start in system.starts])[:, None]
        optima = [system.best(start, horizon) for start in system.starts]
        self.best = np.array([optimum.value for optimum in optima])[:, None]

    def evaluate(self, actions: npt.ArrayLike, evaluations: int) -> PlanValues:
        """Return the values of plans (starts, seeds, H, A); a plan with NaN is worth -inf."""
        plans = np.asarray(actions, np.float64)
        pairs = zip(self.system.starts, plans, strict=True)
        values = np.array([self.system.value(start, plan) for start, plan in pairs])
        values = np.where(np.isfinite(values), values, -np.inf)
        shares = (values - self.nothing) / (self.best - self.nothing)
        return PlanValues(shares, values / self.best, evaluations)


def ours(
    bundle: Path, horizon: int, plans: Plans, sizes: Sizes
) -> dict[str, tuple[list[Any], int]]:
    """Return each planner's plans (starts, seeds, H, A), and its evaluations per plan."""
    dream, results = LocalClient(bundle), {}
    fields = {"horizon": horizon, "discount": 1.0, "warm_start": False, **sizes}
    sessions = [
        dream.reset(start=Start(bank=start), temperature=0.0).session_id
        for start in range(plans.starts)
    ]
    for planner in PLANNERS:
        planned = [
            [
                dream.plan(session_id=name, planner=planner, seed=seed, **fields)
                for seed in range(plans.seeds)
            ]
            for name in sessions
        ]
        actions = [[plan.actions for plan in seeds] for seeds in planned]
        results[planner] = actions, planned[0][0].evaluations
    return results


def theirs(
    bundle: Path, horizon: int, plans: Plans, sizes: Sizes, icem_evaluations: int
) -> list[dict[str, Any]]:
    """Run the peers' script; return the variants that it prints."""
    options = {**sizes, "horizon": horizon, "starts": plans.starts, "seeds": plans.seeds}
    options |= {"icem-evaluations": icem_evaluations}
    command = [load.peers_python(), str(load.HERE / "peers" / "plan_quality.py"), str(bundle)]
    command += [f"--{name}={value}" for name, value in options.items()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{ran.stderr[-4000:]}")
    variants: list[dict[str, Any]] = json.loads(ran.stdout.splitlines()[-1])
    return variants


def measure(
    name: str,
    size: tuple[int, int, int],
    bound: float,
    plans: Plans,
    sizes: Sizes,
    peers: bool,
) -> World:
    """Run all planners in the systems of one size and bound."""
    states, components, horizon = size
    world = World(name, horizon)
    for seed in range(plans.systems):
        system = random_system(seed, states, components, bound, starts=plans.starts)
        evaluator = Evaluator(system, horizon)
        with tempfile.TemporaryDirectory() as folder:
            bundle = write_world(Path(folder, "system"), system)
            default = ours(bundle, horizon, plans, {})
            mine = ours(bundle, horizon, plans, sizes)
            others = theirs(bundle, horizon, plans, sizes, mine["icem"][1]) if peers else []
        for planner, found in default.items():
            _add(world.default, planner, evaluator.evaluate(*found))
        for planner, found in mine.items():
            _add(world.ours, planner, evaluator.evaluate(*found))
        for peer in others:
            key = peer["library"], peer["planner"], peer["variant"]
            _add(world.peers, key, evaluator.evaluate(peer["actions"], peer["evaluations"]))
        print(f"{name}: system {seed + 1} of {plans.systems}", file=sys.stderr)
    return world


def _add(into: dict[Any, PlanValues], key: Any, found: PlanValues) -> None:
    before = into.get(key)
    shares, costs = found.shares.ravel(), found.costs.ravel()
    if before is not None:
        shares = np.concatenate([before.shares, shares])
        costs = np.concatenate([before.costs, costs])
    into[key] = PlanValues(shares, costs, found.evaluations)


def print_optimum(worlds: list[World]) -> None:
    """Print how near dreamserve's planners come to the optimum."""
    columns = ["world", "planner", "evaluations", "share", "lowest share", "costs"]
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
        for planner, found in world.default.items()
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
    parser.add_argument("--systems", type=int, default=3, help="systems of each size and bound")
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=SIZES, default=list(SIZES), nargs="+")
    parser.add_argument("--bounds", type=float, default=BOUNDS, nargs="+")
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    args = parser.parse_args()
    plans = Plans(args.systems, args.starts, args.seeds)
    sizes = {"candidates": args.candidates, "iterations": args.iterations}
    worlds = [
        measure(f"{name}, ±{bound:g}", SIZES[name], bound, plans, sizes, args.peers)
        for name in args.only
        for bound in args.bounds
    ]
    print(f"Beside the optimum, default budgets: medians of {plans.count} plans\n")
    print_optimum(worlds)
    if args.peers:
        budget = f"{args.candidates} candidates, {args.iterations} iterations"
        print(f"\nBeside peers, {budget}: medians of {plans.count} plans\n")
        print_peers(worlds)
    print_circumstances(["onnxruntime"], ["mbrl", "torchrl", "torch"], cores="one in use")


if __name__ == "__main__":
    main()
