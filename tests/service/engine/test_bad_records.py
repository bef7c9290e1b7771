"""Stored records that are damaged, although their checksum is right, are lost sessions."""

import zlib
from struct import Struct

import numpy as np
import pytest

from dreamserve.engine.fake import fake_world
from dreamserve.engine.sessions.records import NO_LIMIT
from dreamserve.engine.sessions.rows import row_dtype
from dreamserve.engine.sessions.stored import unpacked
from dreamserve.engine.sessions.table import SessionTable
from dreamserve_protocol.errors import SessionLostError

HEADER = Struct("<BIHI")
WORLD = fake_world()


def record(row: np.ndarray, title: bytes = WORLD.title.encode(), tail: bytes = b"") -> bytes:
    content = title + row.tobytes() + tail
    return HEADER.pack(1, zlib.crc32(content), len(title), row.nbytes) + content


def row(rows: int = 1, **changed: float) -> np.ndarray:
    """Return the row of a session after two steps, with changed numbers."""
    made = np.zeros(rows, row_dtype(WORLD.spec))
    made["step"], made["max_steps"], made["temperature"] = 2, NO_LIMIT, 1
    for name, value in changed.items():
        made[name] = value
    return made


@pytest.fixture
def slabs() -> list:
    table = SessionTable({"fake": WORLD}, 4, 60.0, [1], 100, lambda: 0.0)
    return list(table.numbered.values())


def test_a_sound_record_is_a_session(slabs) -> None:
    _, session = unpacked(slabs, "a", record(row()))
    assert (session.step, session.max_steps, session.temperature) == (2, NO_LIMIT, 1.0)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (record(row(), title=b"\xff"), "is of world �"),
        (record(row(rows=0)), "does not fit its world"),
        (record(row(rows=2)), "does not fit its world"),
        (record(row(temperature=np.nan)), "temperature: .*finite"),
        (record(row(temperature=-1)), "temperature: .*greater than or equal to 0"),
        (record(row(reward=np.inf)), "reward: .*finite"),
        (record(row(latent=np.nan)), "latent: .*finite"),
        (record(row(step=-1)), "step: .*greater than or equal to 0"),
        (record(row(step=2**62)), "step: .*less than or equal"),
        (record(row(seed=2**63)), "seed: .*less than or equal"),
        (record(row(began_at=3)), "began_at is 3, step only 2"),
        (record(row(max_steps=0)), "max_steps: .*greater than or equal to 1"),
        (record(row(rewind_window=-1)), "rewind_window: .*greater than or equal to 0"),
        (record(row(action=3)), "action 3 is not in"),
        (record(row(), tail=b"\x80"), "last_step.include: .*required"),
        (record(row(), tail=b"\x91" * 2000), "does not fit its world"),
    ],
)
def test_a_damaged_record_is_a_lost_session(slabs, damaged: bytes, message: str) -> None:
    with pytest.raises(SessionLostError, match=message):
        unpacked(slabs, "a", damaged)
