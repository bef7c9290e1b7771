"""Snapshots: a session as a document that any server with the same bundle can restore.

It is the session's complete state, except the steps of its window and its last plan. The digest is
of the content, not of its encoding: a snapshot may be stored as JSON or msgpack, and encoded again
by any language that preserves its numbers (JavaScript turns 1.0 into 1 and -0.0 into 0).
"""

import json
from dataclasses import is_dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np

from dreamserve.engine.checks import check_latent, check_signals, check_state
from dreamserve.engine.sessions.last_answer import last_step_of, read_last_step
from dreamserve.engine.sessions.records import NO_LIMIT, SessionRecord
from dreamserve.engine.world import World
from dreamserve_protocol.errors import InvalidRequestError, SnapshotRefusedError
from dreamserve_protocol.sessions import FORMAT, FORMAT_VERSION, Snapshot, check_format
from dreamserve_protocol.step import StepResult
from dreamserve_protocol.wire import fields_of

LARGEST_STEP = 2**52  # of a restored session: more steps than it can take are exact after it
_LARGEST_REWARD = float(np.finfo(np.float32).max)


def snapshot_of(world: World, record: SessionRecord) -> Snapshot:
    """Return the snapshot of a session of `world`."""
    last = record.last_answer
    snapshot = Snapshot(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        world=world.name,
        world_version=world.version,
        step=record.step,
        seed=record.seed,
        temperature=record.temperature,
        terminated=record.terminated,
        latent=record.latent[0],
        state=world.spec.named_state(part[0] for part in record.state),
        rewind_window=record.rewind_window,
        action=world.spec.action_space.single(record.action) if record.step else None,
        reward=record.reward,
        signals=world.spec.named_signals(record.signals) if record.signals else None,
        last_step=None if last is None else last_step_of(last),
        max_steps=None if record.max_steps == NO_LIMIT else record.max_steps,
        began_at=record.began_at or None,
        digest="",
    )
    return replace(snapshot, digest=digest_of(snapshot))


def restored(world: World, snapshot: Snapshot) -> SessionRecord:
    """Return the session that a snapshot describes, for `world`.

    Raises SnapshotRefusedError for another format, content or bundle, and InvalidRequestError or
    NotFiniteInputError for a state that no session of this world can have.
    """
    check_format(snapshot.format, snapshot.format_version)
    if snapshot.world_version != world.version:
        raise SnapshotRefusedError(
            f"the snapshot is of {snapshot.world} {snapshot.world_version},"
            f" loaded here is {world.name} {world.version}"
        )
    record = record_of(world, snapshot)
    if snapshot_of(world, record).digest != snapshot.digest:
        raise SnapshotRefusedError(
            "the digest does not match: the snapshot is damaged or was edited"
        )
    return record


def record_of(world: World, given: Snapshot) -> SessionRecord:
    """Return the session as a record, with every field validated for `world`.

    Raises InvalidRequestError, InvalidActionError or NotFiniteInputError.
    """
    spec = world.spec
    state = check_state(world, given.state)
    latent = check_latent(world, given.latent)
    if abs(given.reward) > _LARGEST_REWARD:
        raise InvalidRequestError("reward is beyond float32")
    given_parts = (given.action, given.last_step, given.signals)
    blank = not given.reward and all(part is None for part in given_parts)
    if not given.step and not blank:
        raise InvalidRequestError("before its first step a session has no action and no result")
    if given.step > LARGEST_STEP:
        raise InvalidRequestError(f"step must be at most {LARGEST_STEP}, it is {given.step}")
    signals = check_signals(world, given.signals or {}) if given.step else ()
    began_at, last_step = given.began_at or 0, given.last_step
    max_steps = given.max_steps or NO_LIMIT
    if began_at > given.step:
        raise InvalidRequestError(f"began_at is {began_at}, step only {given.step}")
    if (0 < began_at == given.step) != (last_step is not None and last_step.final is not None):
        raise InvalidRequestError("last_step has a final if and only if began_at is step")
    last = None
    if given.last_step is not None:
        shown: Any = {
            "state": spec.named_state(state),
            "signals": spec.named_signals(signals),
        }
        truncated = given.step - began_at >= max_steps
        result = StepResult(
            "", given.step, latent, given.reward, given.terminated, truncated, **shown
        )
        last = read_last_step(world, given.last_step, result)
    return SessionRecord(
        latent=latent[None],
        state=tuple(part[None] for part in state),
        seed=given.seed,
        step=given.step,
        temperature=float(np.float32(given.temperature)),  # as a session stores it
        terminated=given.terminated,
        action=spec.action_space.check(given.action) if given.step else 0,
        reward=float(np.float32(given.reward)),
        signals=signals,
        last_answer=last,
        rewind_window=given.rewind_window,
        max_steps=max_steps,
        began_at=began_at,
    )


def digest_of(snapshot: Snapshot) -> str:
    """Return the digest (BLAKE2b, 128 bits) over all fields but `digest`."""
    content = {name: part for name, part in fields_of(snapshot).items() if name != "digest"}
    written = json.dumps(_canonical(content), sort_keys=True)
    return blake2b(written.encode(), digest_size=16).hexdigest()


def _canonical(value: Any) -> Any:
    """Return a value in the canonical form for the digest: -0.0 is 0.0, tensors are bytes."""
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        little = (array + array.dtype.type(0)).astype(array.dtype.newbyteorder("<"))
        return [little.dtype.str, list(array.shape), little.tobytes().hex()]
    if is_dataclass(value):
        value = fields_of(value)
    if isinstance(value, dict):
        return {name: _canonical(part) for name, part in value.items()}
    return value + 0.0 if type(value) is float else value
