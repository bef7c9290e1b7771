"""What a load balancer hashes, in the headers of a request or of a WebSocket's handshake."""

from dreamserve_protocol.ids import route_of


def routing_headers(routed_by: str | None) -> dict[str, str]:
    """Return the headers that name a session, or the route of several; none for None."""
    if routed_by is None:
        return {}
    # the second one is for load balancers that rewrite nothing
    return {"x-session-id": routed_by, "x-session-route": route_of(routed_by)}
