"""How often do the planners find the best of all discrete plans?

    python benchmarks/plan_trees.py                # about a minute
    python benchmarks/plan_trees.py --depths 6 --trees 2

Worlds are trees of choices whose best path is found by trying them all: with random rewards; with a
trap, where all that is learnt from parts of a plan is misleading; and random ones that end halfway
along what would otherwise be the best path. Planners have their own default budgets: the two small
sizes they try out whole, in the largest they must search, and random shooting says how much luck
there is in it.
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
    """Return the share of plans worth what the best is, and the most that one evaluated."""
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
    parser.add_argument("--trees", type=int, default=20, help="of a kind; the trap is one tree")
    asked = parser.parse_args()
    rows = []
    for depth in map(int, asked.depths.split(",")):
        for kind, make in KINDS.items():
            trees = [make(depth, seed) for seed in range(asked.trees)]
            for planner in PLANNERS:
                share, evaluations = share_found(planner, trees, depth)
                leaves = f"{trees[0].actions ** depth:,}"
                rows.append([kind, leaves, planner, f"{evaluations:,}", f"{share:.0%}"])
    print(f"The best plan found, {asked.trees} plans each\n")
    print_table(["tree", "plans there are", "planner", "evaluations", "found"], rows)
    print_circumstances([], cores="one at work")


if __name__ == "__main__":
    main()
