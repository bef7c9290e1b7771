"""Evaluation of a world's quality, on held-out episodes and in the real environment."""
