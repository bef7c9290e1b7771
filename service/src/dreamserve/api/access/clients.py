"""For whom the bytes of a connection count where clients share a bound (`budgets`)."""

from typing import Any

from dreamserve.api.access.callers import ANYONE
from dreamserve.api.access.rate_limits import network_of


def client_of(scope: Any) -> str:
    """Return the owner of a request's API key, or else the network of its address.

    Before the key is known, the address counts.
    """
    owner: str = scope.get("state", {}).get("caller", ANYONE).owner
    if owner:
        return f"key {owner}"
    address = scope.get("client")
    return network_of(address[0]) if address else ""
