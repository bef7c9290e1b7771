"""Verdicts on a world: what is worse than a baseline that knows nothing, in a sentence each."""

from collections.abc import Mapping
from math import isnan
from typing import Any


def verdicts_on(quality: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a world of this `quality`, as `measure_world` and `evaluate` say.

    Sections that are missing are not judged. No verdict does not mean that the world is good.
    """
    found = [
        _reconstruction(quality.get("reconstruction", {})),
        _likelihood(quality.get("likelihood", {})),
        _one_step(quality.get("horizon", {})),
        _ends(quality.get("done", {})),
        _reward(quality.get("reward", {})),
        *_returns(quality.get("real", {}), quality.get("dream", {})),
    ]
    return [verdict for verdict in found if verdict]


def _reconstruction(figures: Mapping[str, Any]) -> str:
    error = figures.get("mse_per_pixel", 0.0)
    average = figures.get("mse_of_the_average_picture", float("inf"))
    if error < average:
        return ""
    return (
        f"V is worse than the average picture: squared error {error:.4g}, not below {average:.4g}"
    )


def _likelihood(figures: Mapping[str, Any]) -> str:
    nll, baseline = figures.get("nll", 0.0), figures.get("gaussian_baseline", float("inf"))
    if nll < baseline:
        return ""
    if isnan(nll):
        return "nothing says how well M predicts: no held-out episode has a second step"
    return f"M predicts no better than a Gaussian without a past: NLL {nll:.4g} ≥ {baseline:.4g}"


def _one_step(horizon: Mapping[str, Any]) -> str:
    first = horizon.get("1", {})
    error, copied = first.get("most_likely", 0.0), first.get("copy_last", float("inf"))
    if error <= copied:
        return ""
    return f"one step of M is worse than no change: error {error:.4g}, not {copied:.4g}"


def _ends(figures: Mapping[str, Any]) -> str:
    deaths, alarms = figures.get("deaths", 0), figures.get("expected", figures.get("alarms", 0))
    if deaths and not round(alarms):
        return f"the dream never ends; {deaths} of {figures['episodes']} held-out episodes do"
    if alarms > 3 * deaths + 3:
        return (
            f"the dream ends too early: {alarms:.4g} alarms in held-out episodes with {deaths} ends"
        )
    return ""


def _reward(figures: Mapping[str, Any]) -> str:
    error = figures.get("rms_error", 0.0)
    baseline = figures.get("rms_error_of_the_mean", float("inf"))
    if error < baseline or error == 0.0:
        return ""
    return f"the predicted reward is worse than its mean: error {error:.4g}, not {baseline:.4g}"


def _returns(real: Mapping[str, Any], dream: Mapping[str, Any]) -> list[str]:
    """Compare the controller with random actions, and its dreams with reality."""
    if not {"random", "controller"} <= real.keys():
        return []
    verdicts = []
    random, controller = real["random"], real["controller"]
    error = (random["standard_error"] ** 2 + controller["standard_error"] ** 2) ** 0.5
    gain = controller["mean"] - random["mean"]
    if gain <= 2 * error:
        verdicts.append(
            f"the controller is no better than random actions: {controller['mean']:.4g}"
            f" and {random['mean']:.4g}"
        )
    plan = real.get("plan")
    if plan and plan["mean"] <= random["mean"]:
        verdicts.append(
            f"plans are no better than random actions: {plan['mean']:.4g} and {random['mean']:.4g}"
        )
    dreamed = dream.get("T = 1.0")
    if dreamed and dreamed["mean"] - random["mean"] > 2 * max(gain, 0) + 4 * error:
        verdicts.append(
            f"the controller exploits the dream's errors: it earns {dreamed['mean']:.4g} in dreams"
            f" at T = 1, {controller['mean']:.4g} in the real environment"
        )
    return verdicts
