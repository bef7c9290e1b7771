"""Quality: how good a world is, measured on held-out episodes. Nothing here writes a file."""

from dreamserve_training.quality.measuring import card_pictures, measure_world

__all__ = ["card_pictures", "measure_world"]
