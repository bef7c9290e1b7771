"""Verdicts on a world: what is worse than a baseline that knows nothing, in a sentence each."""

from collections.abc import Mapping
from math import hypot
from typing import Any

from dreamserve_training.evaluation.figures import told

# Errors below these are none, even where a baseline has less because nothing ever changes.
INVISIBLE = (1 / 255) ** 2  # squared, of a pixel in [0, 1]
OF_THE_POSTERIOR = 0.02  # of a latent, which has about unit variance
OF_ITS_SIZE = 0.01  # share of a reward, or of a return


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
        *_returns(
            quality.get("real", {}), quality.get("differences", {}), quality.get("dream", {})
        ),
    ]
    return [verdict for verdict in found if verdict]


def _reconstruction(figures: Mapping[str, Any]) -> str:
    error = figures.get("mse_per_pixel", 0.0)
    average = figures.get("mse_of_the_average_picture", float("inf"))
    if error < max(average, INVISIBLE):
        return ""
    return (
        f"V is worse than the average picture: squared error {error:.4g}, not below {average:.4g}"
    )


def _likelihood(figures: Mapping[str, Any]) -> str:
    nll, baseline = figures.get("nll", 0.0), figures.get("gaussian_baseline", float("inf"))
    if nll is None or baseline is None:
        return "nothing says how well M predicts: no held-out episode has a second step"
    if nll < baseline:
        return ""
    return f"M predicts no better than a Gaussian without a past: NLL {nll:.4g} ≥ {baseline:.4g}"


def _one_step(horizon: Mapping[str, Any]) -> str:
    first = horizon.get("1", {})
    error, copied = first.get("most_likely", 0.0), first.get("copy_last", float("inf"))
    if error <= max(copied, OF_THE_POSTERIOR):
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
    if error < baseline or error <= OF_ITS_SIZE * figures.get("rms", 0.0):
        return ""
    return f"the predicted reward is worse than its mean: error {error:.4g}, not {baseline:.4g}"


def _returns(
    real: Mapping[str, Any], differences: Mapping[str, Any], dream: Mapping[str, Any]
) -> list[str]:
    """Compare the controller and plans with random actions, and the controller's dreams with both.

    A return in dreams is too high if it is further above random actions than twice the real gain,
    by more than 4 standard errors and more than a small share of the returns themselves.
    """
    if not {"random", "controller"} <= real.keys():
        return []
    random, controller = real["random"], real["controller"]
    difference = differences.get("controller - random") or _unpaired(controller, random)
    verdicts = [_controller(controller, random, difference)]
    if "plan" in real:
        verdicts.append(_plans(real["plan"], random))
    if (dreamed := dream.get("T = 1.0")) and _exploits(dreamed, controller, random):
        verdicts.append(
            f"the controller exploits the dream's errors: it earns {told(dreamed)} in dreams"
            f" at T = 1, {told(controller)} in the real environment"
        )
    return verdicts


def _controller(
    controller: Mapping[str, Any], random: Mapping[str, Any], difference: Mapping[str, Any]
) -> str:
    error, both = difference["standard_error"], f"{told(controller)} and {told(random)}"
    if error is None:
        return f"nothing says whether the controller is better than random actions: {both}"
    if difference["mean"] > 2 * error:
        return ""
    return (
        f"the controller is no better than random actions: {both}, a difference of"
        f" {told(difference)}, which is not above 2 standard errors"
    )


def _plans(plan: Mapping[str, Any], random: Mapping[str, Any]) -> str:
    both = f"{told(plan)} and {told(random)}"
    if _unpaired(plan, random)["standard_error"] is None:
        return f"nothing says whether plans are better than random actions: {both}"
    if plan["mean"] > random["mean"]:
        return ""
    return f"plans are no better than random actions: {both}"


def _exploits(
    dreamed: Mapping[str, Any], controller: Mapping[str, Any], random: Mapping[str, Any]
) -> bool:
    gain, imagined = (_unpaired(each, random) for each in (controller, dreamed))
    errors = gain["standard_error"], dreamed.get("standard_error", 0.0)
    if None in errors:  # of one episode, which proves nothing
        return False
    error = hypot(*errors)
    size = max(abs(controller["mean"]), abs(random["mean"]))
    margin = 4 * error + OF_ITS_SIZE * size
    return bool(imagined["mean"] > 2 * max(gain["mean"], 0) + margin)


def _unpaired(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the difference of two means, and its standard error; None if one has none."""
    errors = [each.get("standard_error", 0.0) for each in (one, other)]
    error = None if None in errors else hypot(*errors)
    return {"mean": one["mean"] - other["mean"], "standard_error": error}
