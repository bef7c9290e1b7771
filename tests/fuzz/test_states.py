"""Snapshots and stored records: restored whole, or refused; then the dream goes on or says why."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import msgpack
import numpy as np
import pytest

from dreamserve.api.codec import decode, encode
from dreamserve.engine.fake import fake_world
from dreamserve.engine.sessions.snapshots import digest_of, snapshot_of
from dreamserve.engine.sessions.stored import packed, unpacked
from dreamserve.validation import validated
from dreamserve_protocol.batches import StepBatchRequest
from dreamserve_protocol.branches import ForkRequest, RewindRequest
from dreamserve_protocol.errors import CallerError, SessionLostError, SessionNotFoundError
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sample import SampleRequest
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    SessionRequest,
    Snapshot,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest
from dreamserve_protocol.verbs import BY_NAME

from .mutations import as_json, as_msgpack, mutated_bytes
from .neighbours import Driven, Neighbours, assert_declared

FUZZED = "fuzzed"
OBSERVED = {"observation": [0.25] * 4, "include": ["frame", "mixture"]}
FRAME = {"observation": np.full((8, 8, 3), 9, np.uint8), "include": ["state"]}


def lives() -> Iterator[tuple[str, list[Any]]]:
    """Yield sessions of all kinds, each with the requests that lead to it."""
    step = StepRequest
    yield "fresh", []
    yield "stepped", [step("stepped", 1), step("stepped", 2)]
    yield "observed", [step("observed", 1, **OBSERVED)]
    yield "seen", [step("seen", 0, **FRAME)]
    restart = StepBatchRequest(["restarted"], [1], on_end="restart", include=["frame"])
    yield "restarted", [step("restarted", 1), restart]


@pytest.fixture(scope="module")
def engine() -> Driven:
    """Return an engine with the sessions of `lives`."""
    driven = Driven(capacity=32)
    for name, requests in lives():
        reset = ResetRequest(session_id=name, seed=3, rewind_window=4, max_steps=2)
        for request in (reset, *requests):
            driven.send(validated(type(request), request))
    return driven


@pytest.fixture(scope="module")
def neighbours(engine: Driven) -> Neighbours:
    return Neighbours(lambda request: encode(engine.send(request), as_msgpack=True))


def use(engine: Driven, step: int) -> None:
    """Use the restored session in every way."""
    engine.try_all(
        [
            SessionRequest(FUZZED),
            SnapshotRequest(FUZZED),
            SampleRequest(session_id=FUZZED, futures=2, horizon=2),
            PlanRequest(FUZZED, horizon=2, candidates=4, iterations=1),
            *([StepRequest(FUZZED, 1, step=step)] if step else []),
            StepRequest(FUZZED, 1),
            StepRequest(FUZZED, 2, step=step + 2),
            ForkRequest(FUZZED, session_ids=["fork"]),
            RewindRequest(FUZZED, steps=1),
            DeleteRequest(FUZZED),
        ]
    )


def forged(random: Random, raw: bytes, is_msgpack: bool) -> dict[str, Any] | None:
    """Return the fields of a mutated snapshot, most with the digest of the mutated content."""
    try:
        fields = decode(raw, is_msgpack)
        if random.random() < 0.8:
            fields["digest"] = digest_of(validated(Snapshot, fields))
    except CallerError:
        return None if random.random() < 0.9 else {}
    return fields


def test_a_mutated_snapshot_is_refused_or_its_dream_goes_on(fuzzer, engine, neighbours) -> None:
    documents = [engine.send(SnapshotRequest(name)) for name, _ in lives()]
    plain = [decode(encode(one, as_msgpack=False), False) for one in documents]
    restored = 0

    def mutated(random: Random) -> Any:
        document, is_msgpack = random.choice(plain), random.random() < 0.5
        raw = (as_msgpack if is_msgpack else as_json)(random, document, 1)
        return forged(random, raw, is_msgpack)

    def restore(fields: Any) -> None:
        nonlocal restored
        if fields is None:
            return
        neighbours.step()
        try:
            request = validated(RestoreRequest, {"session_id": FUZZED, "snapshot": fields})
            engine.send(request)
        except CallerError as error:
            assert_declared(error, BY_NAME["restore"].all_errors)
            return
        restored += 1
        kept = engine.send(SnapshotRequest(FUZZED))
        assert kept.digest == fields["digest"], "it is another session's snapshot"
        use(engine, kept.step)

    fuzzer.run(mutated, restore, cases=250)
    assert restored, "no mutation is valid: the rest of the test did not run"


def mutated_record(random: Random, record: bytes) -> bytes:
    """Return a record with mutated bytes or numbers, most with a right checksum."""
    size = struct.calcsize("<BIHI")
    _, _, title, row = struct.unpack_from("<BIHI", record)
    content = record[size:]
    if random.random() < 0.7:  # within the row, whose length stays
        numbers = bytearray(content)
        at = title + random.randrange(row)
        width = random.choice("bhiqfd")
        value: Any = random.choice([0, 1, -1, 2**7 - 1, 9.5, float("nan"), float("inf"), -1e38])
        if width not in "fd":
            value = random.choice([0, 1, -1, 2 ** (8 * struct.calcsize(width) - 1) - 1])
        new = struct.pack(f"<{width}", value)[: title + row - at]
        numbers[at : at + len(new)] = new
        content = bytes(numbers)
    elif random.random() < 0.5 and len(content) > title + row:
        tail = msgpack.unpackb(content[title + row :])
        content = content[: title + row] + as_msgpack(random, tail)
    else:
        content = mutated_bytes(random, content)
        row = random.choice([row, row, 0, 2 * row, len(content), 2**31])
    checksum = zlib.crc32(content) if random.random() < 0.9 else 0
    return struct.pack("<BIHI", 1, checksum, title, row) + content


def test_a_mutated_record_is_lost_or_is_a_session_that_can_be_restored(
    fuzzer, engine, neighbours
) -> None:
    table, world = engine.engine.table, fake_world()
    slabs = list(table.numbered.values())
    names = [name for name, _ in lives()]
    places = [table.at(table.places[name]) for name in names]
    records = [packed(slab, np.array([slot]))[0] for slab, slot in places]
    for record in records:
        assert unpacked(slabs, FUZZED, record)
    restored = 0

    def adopt(record: bytes) -> None:
        nonlocal restored
        neighbours.step()
        try:
            _, session = unpacked(slabs, FUZZED, record)
        except SessionLostError as error:
            assert_declared(error, [SessionLostError])
            return
        restored += 1
        snapshot = replace(snapshot_of(world, session), rewind_window=4)
        snapshot = replace(snapshot, digest=digest_of(snapshot))
        engine.send(validated(RestoreRequest, RestoreRequest(FUZZED, snapshot)))
        use(engine, session.step)
        with pytest.raises(SessionNotFoundError):
            engine.send(SessionRequest(FUZZED))

    fuzzer.run(lambda random: mutated_record(random, random.choice(records)), adopt, cases=250)
    assert restored, "no mutation is valid: the rest of the test did not run"
