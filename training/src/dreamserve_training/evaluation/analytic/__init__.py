"""Worlds in closed form, whose best plan is known: to evaluate planners through the real engine.

They are in `evaluation` because they say how good a planner is, as its other modules do of worlds.

    world = random_system(seed=0, states=4, actions=2)
    path = write_world("linear", world)                       # a bundle like any other
    best = world.best(world.starts[0], horizon=20, discount=0.99)
    plan = LocalClient(path).plan(…, horizon=20, discount=0.99, temperature=0)
    regret = best.value - world.value(world.starts[0], plan.actions, discount=0.99)

`value` computes the true value of a sequence in float64, independent of any graph.
"""

from dreamserve_training.evaluation.analytic.bandit import Bandit
from dreamserve_training.evaluation.analytic.base import AnalyticWorld, Optimum
from dreamserve_training.evaluation.analytic.linear import LinearQuadratic, random_system
from dreamserve_training.evaluation.analytic.tree import (
    Tree,
    deceptive_tree,
    ending_tree,
    random_tree,
)
from dreamserve_training.evaluation.analytic.writing import numpy_world, write_world

__all__ = [
    "AnalyticWorld",
    "Bandit",
    "LinearQuadratic",
    "Optimum",
    "Tree",
    "deceptive_tree",
    "ending_tree",
    "numpy_world",
    "random_system",
    "random_tree",
    "write_world",
]
