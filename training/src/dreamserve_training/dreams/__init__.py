"""Dreams in training: an environment, agents, rollouts and plans, run by the engine."""
