"""Limits of one request, checked before any of its work begins, and of one owner's requests."""

from dataclasses import dataclass
from math import inf, prod
from typing import Any

from dreamserve_protocol.branches import ForkRequest
from dreamserve_protocol.errors import TooLargeError
from dreamserve_protocol.markers import Request


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one request's work; unlimited by default.

    Every method raises TooLargeError, with the numbers, if a request exceeds the limit.
    """

    rows: float = inf  # sessions in one batch; episodes of one policy; futures; a plan's dreams
    forks: float = inf  # sessions that one fork creates, in one uninterrupted piece of work
    rewind_window: float = inf  # steps that a session may keep for rewinding
    frames: float = inf  # frames in one request or one response
    dreamt_steps: float = inf  # imagined steps of one plan, sample or rollout
    plan_steps: float = inf  # steps of a plan: horizon x action_repeat
    mixture_bytes: float = inf  # mixtures in one response of /sample, as float32
    job_bytes: float = inf  # arrays of one plan, sample, rollout or batch

    def check_rows(self, count: int, what: str = "rows of a batch") -> None:
        """Limit the rows of a batch, or the dreams that begin at once."""
        _check(self.rows, count, f"{count} {what}")

    def check_forks(self, count: int) -> None:
        """Limit the sessions that one fork creates."""
        _check(self.forks, count, f"{count} forks at once")

    def check_named(self, request: Request[Any]) -> None:
        """Limit the sessions that a request names, each of which is looked for first of all."""
        named = getattr(request, "session_ids", None)
        if named is None:
            return
        if isinstance(request, ForkRequest):
            self.check_forks(len(named))
        else:
            self.check_rows(len(named))

    def check_rewind_window(self, steps: int) -> None:
        """Limit the steps that a session keeps for rewinding."""
        _check(self.rewind_window, steps, f"rewind_window: {steps} steps")

    def check_frames(self, count: int, what: str) -> None:
        """Limit the frames of a request or a response."""
        _check(self.frames, count, f"{what}: {count} frames")

    def check_dreamt_steps(self, **factors: int) -> None:
        """Limit the imagined steps, the product of these factors."""
        steps = prod(factors.values())
        product = " x ".join(f"{name} {number}" for name, number in factors.items())
        _check(self.dreamt_steps, steps, f"{product} is {steps} dreamt steps")

    def check_plan_steps(self, horizon: int, action_repeat: int, policy_steps: int = 0) -> None:
        """Limit the steps of a plan."""
        steps = horizon * action_repeat + policy_steps
        parts = f"horizon {horizon} x action_repeat {action_repeat}"
        if policy_steps:
            parts += f" + policy_steps {policy_steps}"
        _check(self.plan_steps, steps, f"{parts} is a plan of {steps} steps")

    def check_job_bytes(self, size_bytes: int, what: str) -> None:
        """Limit the memory of one job's arrays."""
        _check(self.job_bytes, size_bytes, f"{what} would take {size_bytes} bytes of memory")

    def check_mixture_bytes(self, size_bytes: int, what: str) -> None:
        """Limit the bytes of mixtures in a response."""
        _check(self.mixture_bytes, size_bytes, f"{what} are {size_bytes} bytes of mixtures")


@dataclass(frozen=True, slots=True)
class Quota:
    """What one owner may have at once; unlimited by default."""

    sessions: float = inf
    jobs: float = inf  # plans, samples, rollouts, batches and burn-ins in progress


UNLIMITED = Limits()
UNRESTRICTED = Quota()


def _check(limit: float, number: int, what: str) -> None:
    if number > limit:
        raise TooLargeError(f"{what}, the limit is {limit:.0f}")
