"""Bounds on the work that one request may ask for, checked before any of it begins."""

from dreamserve.api.schemas import (
    Body,
    Fork,
    Plan,
    Reset,
    ResetBatch,
    Rollout,
    Sample,
    Snapshot,
    Start,
    StepBatch,
)
from dreamserve.engine.imagination.plans import planned_steps
from dreamserve.engine.types import SampleBounds
from dreamserve.errors import TooLargeError
from dreamserve.settings import Settings


def check_work(body: Body, settings: Settings) -> None:
    """Raise TooLargeError, with the numbers, when `body` asks for more than the settings allow."""
    if isinstance(body, StepBatch):
        _check_rows(len(body.session_ids), settings)
    if isinstance(body, ResetBatch):
        _check_rows(body.rows, settings)
    if isinstance(body, Fork) and body.rows > settings.max_forks:
        # They are made at once, all or none: no step comes in between.
        raise TooLargeError(f"{body.rows} forks at once, the bound is {settings.max_forks}")
    if isinstance(body, Reset | ResetBatch | Snapshot) and body.rewind_window > settings.max_rewind:
        window, bound = body.rewind_window, settings.max_rewind
        raise TooLargeError(f"rewind_window: {window} steps, the bound is {bound}")
    if isinstance(body, Reset | Sample | Rollout):
        _check_start(body.start, settings)
    if isinstance(body, Sample):
        _check_steps(settings, futures=body.futures, horizon=body.horizon)
        if "frames" in body.include:
            _check_frames(body.futures * body.horizon, "futures x horizon", settings)
    if isinstance(body, Rollout):
        factors = {"policies": body.policies, "episodes": body.each, "max_steps": body.max_steps}
        _check_steps(settings, **factors)
        if body.each > settings.max_rows:
            bound = settings.max_rows
            raise TooLargeError(f"{body.each} episodes of a policy, the bound is {bound}")
    if isinstance(body, Plan):
        _check_steps(settings, **planned_steps(body.to_engine()))


def sample_bounds(settings: Settings) -> SampleBounds:
    """Return what the engine holds a sample to, once it knows the world and so its mixture."""
    return SampleBounds(settings.max_dreamt_steps, settings.max_frames, settings.max_mixture_bytes)


def _check_rows(count: int, settings: Settings) -> None:
    if count > settings.max_rows:
        raise TooLargeError(f"the batch has {count} rows, the bound is {settings.max_rows}")


def _check_start(start: Start | None, settings: Settings) -> None:
    if start is not None and start.frames is not None:
        _check_frames(len(start.frames), "start.frames", settings)


def _check_frames(count: int, what: str, settings: Settings) -> None:
    if count > settings.max_frames:
        raise TooLargeError(f"{what}: {count} frames, the bound is {settings.max_frames}")


def _check_steps(settings: Settings, **factors: int) -> None:
    steps = 1
    for factor in factors.values():
        steps *= factor
    if steps > settings.max_dreamt_steps:
        product = " x ".join(f"{name} {number}" for name, number in factors.items())
        bound = settings.max_dreamt_steps
        raise TooLargeError(f"{product} is {steps} dreamt steps, the bound is {bound}")
