"""Checks and their report. A failed check does not prevent the others from running."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dreamserve_protocol.errors import DreamserveError

logger = logging.getLogger("dreamserve_training")


class CheckFailed(Exception):
    """A check failed; the message gives the reason."""


@dataclass(frozen=True)
class Check:
    """The outcome of one check."""

    name: str
    passed: bool
    detail: str  # what was measured, or why it failed
    took_s: float


@dataclass
class Report:
    """The outcome of all checks on `subject`."""

    subject: str
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def run(self, name: str, check: Callable[[], str]) -> bool:
        """Run `check`, which returns what it measured or raises; record and return if it passed."""
        start_s = time.perf_counter()
        try:
            detail, passed = check(), True
        except (CheckFailed, DreamserveError, ValueError) as error:
            detail, passed = str(error), False
        except Exception as error:
            # an unexpected exception is a failure too, and must not stop the other checks
            logger.exception("check %r raised an exception", name)
            detail, passed = f"raised {type(error).__name__}: {error}", False
        self.checks.append(Check(name, passed, detail, time.perf_counter() - start_s))
        return passed

    def __str__(self) -> str:
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [
            f"  {'ok  ' if check.passed else 'FAIL'}  {check.name:<{width}}  {check.detail}"
            for check in self.checks
        ]
        failed = sum(not check.passed for check in self.checks)
        verdict = f"{failed} of {len(self.checks)} checks failed" if failed else "all checks passed"
        took_s = sum(check.took_s for check in self.checks)
        return "\n".join([self.subject, *lines, f"{verdict} in {took_s:.1f} s"])
