"""Worlds in closed form with known optimal plans, for evaluating planners on the real engine.

Other modules of `evaluation` measure worlds; these worlds measure planners.

    world = random_system(seed=0, states=4, actions=2)
    path = write_world("linear", world)                       # an ordinary bundle
    best = world.best(world.starts[0], horizon=20, discount=0.99)
    plan = LocalClient(path).plan(…, horizon=20, discount=0.99, temperature=0)
    regret = best.value - world.value(world.starts[0], plan.actions, discount=0.99)

`value` computes the exact value of a sequence in float64, without a graph.
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
