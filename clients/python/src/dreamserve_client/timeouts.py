"""How long each verb may take, unless the user says otherwise."""

from typing import Any

from dreamserve_client.errors import ConfigurationError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.verbs import BY_REQUEST

CONNECT_S = 10.0  # at most, of any timeout
DEFAULT_S = 30.0
LONGEST_S = 1e6  # what every system can wait for
# Verbs whose work the request sets, up to the server's bounds: up to 65,536 rows in a batch, and
# 2,000,000 imagined steps, which take a small server minutes.
LONG_S = {
    "step_batch": 120.0,
    "reset_batch": 120.0,
    "sample": 600.0,
    "rollout": 600.0,
    "plan": 600.0,
}


def timeout_s_of(request: Request[Any]) -> float:
    """Return the default timeout of a request; a plan's budget is added to that of short calls."""
    if isinstance(request, PlanRequest) and isinstance(request.budget_ms, int | float):
        return DEFAULT_S + min(max(0.0, request.budget_ms / 1e3), LONGEST_S)
    return LONG_S.get(BY_REQUEST[type(request)].name, DEFAULT_S)


def is_long(request: Request[Any]) -> bool:
    """Return whether the server may work on a request for long after its client gave up."""
    return BY_REQUEST[type(request)].name in LONG_S


def check_timeout(timeout_s: float | None) -> float | None:
    """Return a timeout that makes sense. Raises ConfigurationError."""
    valid = isinstance(timeout_s, int | float) and 0 < timeout_s <= LONGEST_S
    if timeout_s is not None and not valid:
        most = f"of at most {LONGEST_S:.0f}"
        raise ConfigurationError(f"timeout_s must be a positive number {most}, not {timeout_s!r}")
    return timeout_s
