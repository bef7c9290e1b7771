"""Looking ahead, while no session moves: samples, plans, rollouts (see `futures`)."""
