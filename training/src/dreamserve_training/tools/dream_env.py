"""The dream under one roof: the environment, agents in it, their rollouts, and planning."""

from dreamserve_training.tools.agents import DreamAgent
from dreamserve_training.tools.environment import DreamEnvironment
from dreamserve_training.tools.planner import DreamPlanner
from dreamserve_training.tools.rollouts import DreamRollout, Rollout

__all__ = ["DreamAgent", "DreamEnvironment", "DreamPlanner", "DreamRollout", "Rollout"]
