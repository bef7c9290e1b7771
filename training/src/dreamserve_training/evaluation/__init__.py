"""Evaluation: how good is a world? Measured on held-out episodes and in the real environment."""
