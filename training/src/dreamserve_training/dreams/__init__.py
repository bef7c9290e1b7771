"""Dreams in training: an environment, agents, rollouts and plans, all of them on the engine."""
