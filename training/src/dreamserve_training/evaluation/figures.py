"""How measurements are rounded and told, and what their errors are."""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt


def rounded(value: float, decimals: int = 2) -> float:
    """Return `value` with so many `decimals`; below 1 with four digits, whatever its unit is."""
    return float(f"{value:.4g}") if abs(value) < 1 else round(value, decimals)


def deviation(values: npt.NDArray[Any]) -> float | None:
    """Return the sample standard deviation of values (N,); None for one, which tells nothing."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def mean_figures(values: npt.NDArray[Any]) -> dict[str, float | None]:
    """Return the mean of values (N,) with its standard error, which is None for one value."""
    std = deviation(values)
    return {
        "mean": rounded(float(values.mean())),
        "standard_error": None if std is None else rounded(std / len(values) ** 0.5),
    }


def told(figures: Mapping[str, Any], digits: int = 4) -> str:
    """Return a mean of episodes with its standard error, or that it is one episode's."""
    mean, error = f"{figures['mean']:.{digits}g}", figures.get("standard_error", 0.0)
    return f"{mean} (one episode)" if error is None else f"{mean} ± {error:.3g}"
