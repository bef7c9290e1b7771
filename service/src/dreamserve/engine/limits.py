"""The most that one request may ask for, checked before any of it begins."""

from dataclasses import dataclass
from math import inf, prod

from dreamserve_protocol.errors import TooLargeError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one request's work; unlimited by default.

    Every method raises TooLargeError with the numbers when a request is over its bound.
    """

    rows: float = inf  # sessions in one batch; episodes of one policy
    forks: float = inf  # sessions that one fork makes: at once, with no step in between
    rewind_window: float = inf  # steps that a session may ask to keep
    frames: float = inf  # frames in one request or one answer
    dreamt_steps: float = inf  # steps that one plan, sample or rollout may take
    mixture_bytes: float = inf  # mixtures in one answer of /sample, as float32

    def check_rows(self, count: int, what: str = "rows of a batch") -> None:
        """Bound the rows of a batch."""
        _check(self.rows, count, f"{count} {what}")

    def check_forks(self, count: int) -> None:
        """Bound the sessions that one fork makes."""
        _check(self.forks, count, f"{count} forks at once")

    def check_rewind_window(self, steps: int) -> None:
        """Bound the steps that a session keeps."""
        _check(self.rewind_window, steps, f"rewind_window: {steps} steps")

    def check_frames(self, count: int, what: str) -> None:
        """Bound the frames of a request or an answer."""
        _check(self.frames, count, f"{what}: {count} frames")

    def check_dreamt_steps(self, **factors: int) -> None:
        """Bound the steps to dream, the product of these factors."""
        steps = prod(factors.values())
        product = " x ".join(f"{name} {number}" for name, number in factors.items())
        _check(self.dreamt_steps, steps, f"{product} is {steps} dreamt steps")

    def check_mixture_bytes(self, size_bytes: int, what: str) -> None:
        """Bound the mixtures of an answer."""
        _check(self.mixture_bytes, size_bytes, f"{what} are {size_bytes} bytes of mixtures")


UNLIMITED = Limits()


def _check(bound: float, number: int, what: str) -> None:
    if number > bound:
        raise TooLargeError(f"{what}, the limit is {bound:.0f}")
