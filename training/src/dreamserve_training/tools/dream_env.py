"""Public interface to dreams: the environment, agents, rollouts and planning."""

from dreamserve_training.dreams.agents import DreamAgent
from dreamserve_training.dreams.environment import DreamEnvironment
from dreamserve_training.dreams.planner import DreamPlanner
from dreamserve_training.dreams.rollouts import DreamRollout, Rollout

__all__ = ["DreamAgent", "DreamEnvironment", "DreamPlanner", "DreamRollout", "Rollout"]
