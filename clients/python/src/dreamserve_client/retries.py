"""When to send a request again, and after how long."""

from dataclasses import dataclass
from random import random
from typing import Any

from dreamserve_client.errors import APIConnectionError, ConfigurationError
from dreamserve_protocol.errors import DreamserveError, ProblemError

FIRST_WAIT_S = 0.1  # another replica may be there at once
SECOND_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
MOST_RETRIES = 3  # by default
LONGEST_RETRY_AFTER_S = 60.0  # a server that asks for more than this is not waited for
IN_PASSING: dict[str, Any] = {"timeout_s": 2.0, "max_retries": 0}  # of an end after an error
RETRIED_STATUSES = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class RetryPolicy:
    """Idempotent requests are sent again up to `max_retries` times.

    Errors that a retry cannot resolve are final, such as a 409: the session has another step, or
    the dream has ended.
    """

    max_retries: int = MOST_RETRIES

    def __post_init__(self) -> None:
        if not isinstance(self.max_retries, int) or self.max_retries < 0:
            raise ConfigurationError(f"max_retries must be 0 or more, not {self.max_retries}")

    def wait_s(self, error: DreamserveError, attempt: int, may_be_resent: bool) -> float | None:
        """Return the wait before the next attempt, or None when `error` is final.

        `attempt` counts from 0. The first wait is short: when a replica ends, a load balancer sends
        the next attempt to another one. From the second on waits double, and each is shortened by
        up to a quarter at random, so that clients do not retry at the same time; a Retry-After is
        waited in full.
        """
        if not may_be_resent or attempt >= self.max_retries:
            return None
        if isinstance(error, ProblemError):
            if error.status not in RETRIED_STATUSES:
                return None
            if error.retry_after_s is not None:
                wanted_s = error.retry_after_s
                return wanted_s if wanted_s <= LONGEST_RETRY_AFTER_S else None
        elif not isinstance(error, APIConnectionError):
            return None
        doubled_s = SECOND_WAIT_S * 2.0 ** (attempt - 1) if attempt else FIRST_WAIT_S
        return min(doubled_s, LONGEST_WAIT_S) * (1 - 0.25 * random())
