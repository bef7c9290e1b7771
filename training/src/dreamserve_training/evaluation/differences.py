"""Differences between agents that played the same real episodes, paired by seed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamserve_training.evaluation.figures import rounded
from dreamserve_training.evaluation.real import CONTROLLER, RANDOM, SIGHTED, EpisodeResults


def paired(one: EpisodeResults, other: EpisodeResults) -> dict[str, Any]:
    """Return the mean difference of returns, its standard error, and the ratio of the means.

    Episode i of both had the same seed. Where one has more episodes, those are left out.
    """
    episodes = min(len(one.returns), len(other.returns))
    first, second = (np.asarray(each.returns[:episodes]) for each in (one, other))
    difference = first - second
    error = float(difference.std(ddof=1)) / episodes**0.5 if episodes > 1 else 0.0
    figures = {
        "mean": rounded(float(difference.mean())),
        "standard_error": rounded(error),
        "episodes": episodes,
    }
    if first.mean() > 0 and second.mean() > 0:
        figures["ratio"] = round(float(first.mean() / second.mean()), 3)
    return figures


def best_blind(results: Mapping[str, EpisodeResults]) -> str | None:
    """Return the name of the agent without observations with the highest mean return, if any."""
    means = {
        name: float(np.mean(played.returns))
        for name, played in results.items()
        if name not in SIGHTED
    }
    return max(means, key=lambda name: means[name]) if means else None


def controller_differences(results: Mapping[str, EpisodeResults]) -> dict[str, dict[str, Any]]:
    """Return the controller against its twins, random actions and the best blind agent."""
    blind = best_blind(results)
    others = dict.fromkeys([*SIGHTED[1:4], RANDOM, *([] if blind is None else [blind])])
    return {
        f"{CONTROLLER} - {name}": paired(results[CONTROLLER], results[name])
        for name in others
        if name in results
    }
