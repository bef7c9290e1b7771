"""Random shooting: draw sequences uniformly, keep the best (Rao 2009, A survey of numerical
methods for optimal control, section on direct shooting; Nagabandi et al. 2018, arXiv:1708.02596).
"""

from dreamserve.manifest import ActionSpace
from dreamserve.planning.base import Planner, Uniform, better, sequence_shape, uniform_actions


def random_shooting(space: ActionSpace, horizon: int, candidates: int, uniform: Uniform) -> Planner:
    """Plan in one iteration of `candidates` sequences of `horizon` actions."""
    shape = sequence_shape(space, candidates, horizon)
    actions = uniform_actions(space, uniform(0, shape))
    values = yield actions
    return better(None, actions, values, iteration=0)
