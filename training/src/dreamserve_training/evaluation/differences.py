"""Differences between agents that played the same real episodes, paired by seed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamserve_training.evaluation.figures import mean_figures
from dreamserve_training.evaluation.real import CONTROLLER, RANDOM, SIGHTED, EpisodeResults


def paired(one: EpisodeResults, other: EpisodeResults) -> dict[str, Any]:
    """Return the mean difference of returns, its standard error, and the ratio of the means.

    Episode i of both had the same seed. Where one has more episodes, those are left out. The
    standard error of one episode is None.
    """
    episodes = min(len(one.returns), len(other.returns))
    first, second = (np.asarray(each.returns[:episodes]) for each in (one, other))
    figures: dict[str, Any] = {**mean_figures(first - second), "episodes": episodes}
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
