"""Accepts a WebSocket."""

from starlette.types import Receive, Scope, Send

from dreamserve.api.access.callers import SUBPROTOCOL


async def accept(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept a WebSocket, with our subprotocol if the peer offers it.

    A browser that offers subprotocols, to send an API key in one, needs one of them to be chosen.
    """
    await receive()  # websocket.connect
    chosen = SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None
    await send({"type": "websocket.accept", "subprotocol": chosen})
