"""What goes wrong with categorical latents and their logits."""

from collections.abc import Sequence

import numpy as np

from dreamserve.backends.base import Array
from dreamserve.heads import Categorical, LatentHead

_TOLERANCE = 1e-3


def one_hot_problem(head: Categorical, latent: Array) -> str:
    """Return what is wrong with latents (B, Z) of one-hot groups, or nothing."""
    groups, classes = head.groups, head.classes

    def one_hot(rows: Array, axis: int) -> bool:
        return bool(np.isin(rows, (0, 1)).all() and (rows.sum(axis=axis) == 1).all())

    if one_hot(latent.reshape(-1, groups, classes), 2):
        return ""
    if one_hot(latent.reshape(-1, classes, groups), 1):
        return (
            f"is flattened in the other order of axes: the numbers of its {groups} groups lie"
            f" {groups} apart; a group's {classes} numbers must follow one another"
        )
    return f"is not one-hot; it must hold {groups} groups of {classes} numbers, a single 1 in each"


def are_probabilities(head: LatentHead, outputs: Sequence[Array]) -> str:
    """Return that a categorical head's logits are probabilities, if they are, or nothing."""
    if not isinstance(head, Categorical):
        return ""
    logits = outputs[0]
    if (logits < 0).any() or not np.allclose(logits.sum(axis=2), 1, atol=_TOLERANCE):
        return ""
    return "logits are probabilities, which sum to 1; return logits, or the logarithms of these"
