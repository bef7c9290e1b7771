"""A session's record as the bytes that a store keeps.

A record holds the session's state after its last commit, not the actions that led to it: so it does
not matter whether the next machine computes the same last bits. It lacks the steps of the rewind
window and the last plan. The layout is the world's (`rows`), preceded by a header and followed
by the last step's result, if that holds more than the row.
"""

from collections.abc import Iterable
from struct import Struct
from struct import error as StructError
from zlib import crc32

import msgpack
import numpy as np

from dreamserve.backends.base import Int64
from dreamserve.engine.sessions.last_answer import last_step_of
from dreamserve.engine.sessions.records import NO_LIMIT, SessionRecord
from dreamserve.engine.sessions.slab import LastAnswer, Slab
from dreamserve.engine.sessions.snapshots import record_of
from dreamserve.validation import validated
from dreamserve_protocol.errors import CallerError, SessionLostError
from dreamserve_protocol.sessions import FORMAT, FORMAT_VERSION, Snapshot
from dreamserve_protocol.wire import packed_form

_FORMAT = 1
_HEADER = Struct("<BIHI")  # format, checksum of what follows, bytes of the title, of the row


def packed(slab: Slab, slots: Int64) -> list[bytes]:
    """Return the records of the sessions of `slots` (B,)."""
    world = slab.world
    rows = np.zeros(len(slots), slab.row_dtype)
    for column in ("seed", "step", "began_at", "max_steps", "temperature", "terminated"):
        rows[column] = getattr(slab, column)[slots]
    stepped = rows["step"] > 0  # before, the slab holds values of the slot's previous session
    rows["action"][stepped] = slab.action[slots[stepped]]
    rows["reward"][stepped] = slab.reward[slots[stepped]]
    for name, column in world.spec.named_signals(slab.signals).items():
        rows[f"signal.{name}"][stepped] = column[slots[stepped]]
    rows["latent"], state = slab.states.read(slots)
    for tensor, part in zip(world.spec.recurrent_state, state, strict=True):
        rows[f"state.{tensor.name}"] = part
    if slab.windows:
        rows["rewind_window"] = [slab.windows.length(slot) for slot in slots.tolist()]
    written, size, title = rows.tobytes(), rows.itemsize, world.title.encode()
    last = slab.last_answers
    return [
        _framed(title, written[i * size : (i + 1) * size], _tail(last.get(slot)))
        for i, slot in enumerate(slots.tolist())
    ]


def _framed(title: bytes, row: bytes, tail: bytes) -> bytes:
    content = b"".join((title, row, tail))
    return _HEADER.pack(_FORMAT, crc32(content), len(title), len(row)) + content


def _tail(last: LastAnswer | None) -> bytes:
    if last is None:
        return b""
    tail: bytes = msgpack.packb(last_step_of(last), default=packed_form)
    return tail


def unpacked(slabs: Iterable[Slab], session_id: str, record: bytes) -> tuple[Slab, SessionRecord]:
    """Return the session of a stored record, and the slab of its world.

    Raises SessionLostError if the record is damaged, or its world is not loaded in that version.
    """
    title, row, tail = _parts(session_id, record)
    by_title = {slab.world.title: slab for slab in slabs}
    slab = by_title.get(title)
    if slab is None:
        loaded = ", ".join(by_title)
        raise SessionLostError(f"session {session_id} is of world {title}; loaded here: {loaded}")
    try:
        return slab, _record(slab, row, tail)
    except (CallerError, KeyError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise SessionLostError(
            f"the stored record of session {session_id} does not fit its world: {error}"
        ) from error


def title_of(session_id: str, record: bytes) -> str:
    """Return the title of the world of a stored session. Raises SessionLostError if damaged."""
    return _parts(session_id, record)[0]


def _parts(session_id: str, record: bytes) -> tuple[str, bytes, bytes]:
    """Return the world's title, the row and the tail. Raises SessionLostError if it is damaged."""
    try:
        form, checksum, title_bytes, row_bytes = _HEADER.unpack_from(record)
    except StructError:
        form, checksum, title_bytes, row_bytes = 0, 0, 0, 0
    content = record[_HEADER.size :]
    if form != _FORMAT or crc32(content) != checksum:
        raise SessionLostError(
            f"the stored record of session {session_id} is damaged or of another format"
        )
    row_at, tail_at = title_bytes, title_bytes + row_bytes
    return content[:row_at].decode(errors="replace"), content[row_at:tail_at], content[tail_at:]


def _record(slab: Slab, row: bytes, tail: bytes) -> SessionRecord:
    """Return the session, validated as a snapshot is. Raises ValueError and others."""
    (one,), world, spec = np.frombuffer(row, slab.row_dtype), slab.world, slab.world.spec
    step, max_steps = int(one["step"]), int(one["max_steps"])
    signals = {name: float(one[f"signal.{name}"]) for name in (s.name for s in spec.signals)}
    snapshot = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "world": world.name,
        "world_version": world.version,
        "digest": "",  # the record has a checksum of its own
        "step": step,
        "seed": int(one["seed"]),
        "temperature": float(one["temperature"]),
        "terminated": bool(one["terminated"]),
        "latent": one["latent"],
        "state": {name: one[f"state.{name}"] for name in (t.name for t in spec.recurrent_state)},
        "rewind_window": int(one["rewind_window"]),
        "action": spec.action_space.single(one["action"]) if step else None,
        "reward": float(one["reward"]),
        "signals": signals if step and signals else None,
        "last_step": msgpack.unpackb(tail) if tail else None,
        "max_steps": None if max_steps == NO_LIMIT else max_steps,
        "began_at": int(one["began_at"]) or None,
    }
    return record_of(world, validated(Snapshot, snapshot))
