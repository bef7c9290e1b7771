"""API keys on the WebSockets: in the handshake, as a header or a subprotocol, and revoked."""

import asyncio
import json
import logging
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.anyio
PATIENCE_S = 30.0


def bearer(key: str) -> dict[str, Any]:
    return {"additional_headers": {"authorization": f"Bearer {key}"}}


async def until_revoked(served: Any, key: str) -> None:
    """Wait until the server has read the changed file."""
    keys = served.app.service.access.keys
    async with asyncio.timeout(PATIENCE_S):
        while keys.find(key.encode()) is not None:
            await asyncio.sleep(0.01)


async def test_a_stream_without_a_valid_key_is_refused_in_the_handshake(
    listening, keys_file
) -> None:
    with listening(api_keys_file=keys_file) as served:
        for path in ("stream", "ws"):
            for options in ({}, bearer("no"), {"subprotocols": ["dreamserve"]}):
                with pytest.raises(InvalidStatus) as refused:
                    await connect(f"ws://127.0.0.1:{served.port}/{path}", **options)
                response = refused.value.response
                assert response.status_code == 401
                assert response.headers["www-authenticate"].startswith("Bearer")
                assert json.loads(response.body or b"")["code"] == "unauthorized"


async def test_a_key_in_a_header_or_a_subprotocol_opens_the_stream_of_its_owner(
    listening, keys_file, peer_of
) -> None:
    as_browsers_do = {"subprotocols": ["dreamserve", "dreamserve-key-ka2"]}
    with listening(api_keys_file=keys_file) as served:
        async with peer_of(served, **bearer("ka")) as peer:
            await peer.ask("reset", session_id="s", seed=5)
        async with peer_of(served, **as_browsers_do) as peer:
            assert peer.socket.subprotocol == "dreamserve"
            assert (await peer.ask("session", session_id="s"))["body"]["seed"] == 5
            assert (await peer.ask("sessions"))["body"]["total"] == 1
            assert (await peer.ask("admin_sessions"))["status"] == 403
        async with peer_of(served, **bearer("kb")) as peer:
            missing = await peer.ask("session", session_id="s")
            assert (missing["status"], missing["body"]["code"]) == (404, "session_not_found")
        async with peer_of(served, **bearer("kr")) as peer:
            assert (await peer.ask("admin_sessions"))["body"]["total"] == 1


async def test_a_revoked_key_ends_what_its_open_stream_may_do(
    listening, write_keys, peer_of
) -> None:
    path = write_keys(ann="ka", ben="kb")
    with listening(api_keys_file=str(path)) as served:
        async with peer_of(served, **bearer("ka")) as ann, peer_of(served, **bearer("kb")) as ben:
            assert (await ann.ask("worlds"))["status"] == 200
            write_keys(ben="kb", new="kn")
            await until_revoked(served, "ka")
            refused = await ann.ask("worlds")
            assert (refused["status"], refused["body"]["code"]) == (401, "unauthorized")
            assert (await ben.ask("worlds"))["status"] == 200


async def test_each_message_of_a_stream_counts_for_the_rate(listening, write_keys, peer_of) -> None:
    limits = {"key": "ka", "requests_per_s": 0.001, "burst": 3}
    with listening(api_keys_file=str(write_keys(ann=limits))) as served:
        async with peer_of(served, **bearer("ka")) as peer:  # the handshake is one
            assert [(await peer.ask("worlds"))["status"] for _ in range(2)] == [200, 200]
            refused = (await peer.ask("worlds"))["body"]
            assert refused["code"] == "rate_limited"
            assert 900 < refused["retry_after_s"] <= 1000


async def test_openenvs_socket_has_a_key_and_a_session_of_its_owner(listening, keys_file) -> None:
    with listening(api_keys_file=keys_file) as served:
        # The password of the URL, for clients that send no headers of their own.
        url = f"ws://:ka@127.0.0.1:{served.port}/ws".replace("//:", "//key:")
        async with connect(url) as socket:
            await socket.send(json.dumps({"type": "reset", "data": {}}))
            begun = json.loads(await socket.recv())
            session_id = begun["data"]["metadata"]["session_id"]
            engine = served.app.service.engine
            assert engine.session_count == 1
            assert list(engine.table.places) == [("ann", session_id)]
        async with asyncio.timeout(PATIENCE_S):
            while engine.session_count:
                await asyncio.sleep(0.01)


async def test_no_key_of_a_handshake_is_logged(listening, keys_file, peer_of, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    with listening(api_keys_file=keys_file, log_level="debug") as served:
        caplog.clear()
        options = {"subprotocols": ["dreamserve", "dreamserve-key-ka"]}
        async with peer_of(served, logger=logging.getLogger("the client"), **options) as peer:
            await peer.ask("worlds")
    server_side = [one.getMessage() for one in caplog.records if one.name != "the client"]
    assert not [message for message in server_side if "dreamserve.key" in message]
