"""Shared by the tests of forks, rewinds and snapshots."""

from collections.abc import Callable

import pytest

from dreamserve.api import codec
from dreamserve.engine.fake import fake_world
from dreamserve.local import LocalClient
from dreamserve.validation import validated
from dreamserve_protocol.common import Start
from dreamserve_protocol.sessions import Snapshot


@pytest.fixture
def dream() -> LocalClient:
    """Return a client with a session "a" at step 3, rewindable by up to 5 steps."""
    dream = LocalClient(fake_world(), capacity=4)
    dream.reset(session_id="a", seed=4, start=Start(bank=8), rewind_window=5)
    for action in (1, 0, 1):
        dream.step(session_id="a", action=action)
    return dream


def _over_wire(snapshot: Snapshot, form: str) -> Snapshot:
    as_msgpack = form == "msgpack"
    sent = codec.encode(snapshot, as_msgpack)
    return validated(Snapshot, codec.decode(sent, as_msgpack))


@pytest.fixture(scope="session")
def over_wire() -> Callable[[Snapshot, str], Snapshot]:
    """Return a function that encodes and decodes a snapshot as "json" or "msgpack"."""
    return _over_wire
