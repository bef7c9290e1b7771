"""Imagined trajectories, which change no session: samples, plans and rollouts."""
