"""How often do the planners find the best of all discrete plans?

    python benchmarks/plan_trees.py                # about a minute
    python benchmarks/plan_trees.py --depths 6 --trees 2

Worlds are trees of choices whose best path is known by enumeration: trees with random rewards; a
trap, where parts of a plan give misleading rewards; and random trees that end halfway along what
would otherwise be the best path. Planners use their default budgets: in the two smaller sizes they
enumerate all plans, in the largest they search, with random shooting as the baseline.
"""

import argparse
from collections.abc import Callable

from dreamserve.local import LocalClient
from dreamserve.planning.catalog import PLANNERS
from dreamserve_training.evaluation.analytic import (
    Tree,
    deceptive_tree,
    ending_tree,
    numpy_world,
    random_tree,
)
from tables import print_circumstances, print_table

KINDS: dict[str, Callable[[int, int], Tree]] = {
    "random": random_tree,
    "trap": lambda depth, _seed: deceptive_tree(depth),
    "ending": ending_tree,
}


def share_found(planner: str, trees: list[Tree], depth: int) -> tuple[float, int]:
    """Return the share of plans with the optimal value, and the most evaluations of a plan."""
    found, evaluations = 0, 0
    for seed, tree in enumerate(trees):
        dream = LocalClient(numpy_world(tree))
        session = dream.reset(temperature=0.0).session_id
        plan = dream.plan(
            session_id=session, planner=planner, horizon=depth, discount=1.0, seed=seed
        )
        found += bool(tree.value(plan.actions) >= tree.best().value - 1e-6)
        evaluations = max(evaluations, plan.evaluations)
    return found / len(trees), evaluations


def main() -> None:
    """Plan in all trees and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", default="6,8,9")
    parser.add_argument("--trees", type=int, default=20, help="trees of each kind; one trap")
    args = parser.parse_args()
    rows = []
    for depth in map(int, args.depths.split(",")):
        for kind, make in KINDS.items():
            trees = [make(depth, seed) for seed in range(args.trees)]
            for planner in PLANNERS:
                share, evaluations = share_found(planner, trees, depth)
                leaves = f"{trees[0].actions ** depth:,}"
                rows.append([kind, leaves, planner, f"{evaluations:,}", f"{share:.0%}"])
    print(f"Share of {args.trees} plans that are optimal\n")
    print_table(["tree", "possible plans", "planner", "evaluations", "found"], rows)
    print_circumstances([], cores="one in use")


if __name__ == "__main__":
    main()
