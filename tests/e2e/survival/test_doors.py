"""A server is killed; another one continues the sessions of the doors beside /step."""

import json
import signal
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

import dreamserve_client as sdk

WAIT_S = 20.0


def infer(url: str, action: int | None, **parameters: Any) -> np.ndarray:
    """Send a request of the Open Inference Protocol; return the latent."""
    given = {"name": "action", "datatype": "INT64", "shape": [1], "data": [action]}
    inputs = [] if action is None else [given]
    body = {"inputs": inputs, "parameters": {"sequence_id": 77, **parameters}}
    response = httpx.post(f"{url}/v2/models/untrained/infer", json=body, timeout=WAIT_S)
    assert response.status_code == 200, response.text
    (latent,) = (one for one in response.json()["outputs"] if one["name"] == "latent")
    return np.array(latent["data"], np.float32)


def ask(socket: ClientConnection, kind: str, **data: Any) -> Any:
    """Send one of OpenEnv's messages; return the data of the response."""
    socket.send(json.dumps({"type": kind, "data": data}))
    return json.loads(socket.recv(WAIT_S))["data"]


def test_another_server_continues_what_every_door_began(servers, undisturbed):
    killed, other = servers
    seen: list[np.ndarray] = []
    infer(killed.url, None, sequence_start=True, seed=6, temperature=0.0)
    with (
        killed.client(transport="stream") as stream,
        connect(killed.url.replace("http", "ws") + "/ws") as socket,
    ):
        streamed = stream.reset(seed=6, temperature=0.0).session_id
        ask(socket, "reset", seed=6, temperature=0.0)
        episode = ask(socket, "state")["session_id"]
        for step in (1, 2):
            seen.append(infer(killed.url, step % 3))
            stream.step(streamed, step % 3, step=step)
            ask(socket, "step", action=step % 3)
        killed.end(signal.SIGKILL)
        try:
            with pytest.raises(sdk.APIConnectionError):
                stream.step(streamed, 0, step=3)
            with pytest.raises(ConnectionClosedError):
                socket.recv(WAIT_S)
            with other.client(transport="stream") as client:
                continued = {
                    session_id: [client.step(session_id, step % 3).latent for step in (3, 4, 5)]
                    for session_id in (streamed, episode)
                }
            seen += [infer(other.url, step % 3) for step in (3, 4, 5)]
            with connect(other.url.replace("http", "ws") + "/ws") as socket_of_other:
                refused = ask(socket_of_other, "step", action=0)
            assert "no episode has begun; send a reset first" in refused["message"]
        finally:
            killed.start().wait()
    expected = undisturbed(6, 5)
    assert all(map(np.array_equal, seen, expected))
    for latents in continued.values():
        assert all(map(np.array_equal, latents, expected[2:]))
    infer(killed.url, 0, sequence_end=True)  # on the server that is back
