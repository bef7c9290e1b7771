"""For whom the bytes of a connection count where clients share a bound (`budgets`)."""

from typing import Any

from dreamserve.api.access.rate_limits import network_of


def client_of(scope: Any) -> str:
    """Return the owner of a request's API key, or else the network of its address.

    Before the key is known, the address counts.
    """
    caller = scope.get("state", {}).get("caller")
    if caller is not None and caller.owner:
        return f"key {caller.owner}"
    address = scope.get("client")
    return network_of(address[0]) if address else ""
