"""How a call reaches a server: over HTTP, over one WebSocket, or in this process."""
