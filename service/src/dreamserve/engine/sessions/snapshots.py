"""Snapshots: a session as a document that any server with the same bundle makes a session of.

It is all that the session is, but for the earlier steps of its window and its last plan. The digest
is over the content, not over how that is written: a snapshot may be kept as JSON or as msgpack.
"""

import json
from dataclasses import fields, replace
from hashlib import blake2b
from typing import Any

import numpy as np

from dreamserve.engine.actions import check_action
from dreamserve.engine.checks import (
    check_latent,
    check_numbers,
    check_range,
    check_seed,
    check_temperature,
)
from dreamserve.engine.sessions.last_answer import last_answer_of, read_last_answer
from dreamserve.engine.sessions.record import SessionRecord
from dreamserve.engine.sessions.table import Session
from dreamserve.engine.types import Snapshot
from dreamserve.engine.world import World
from dreamserve.errors import InvalidRequestError, SnapshotRefusedError
from dreamserve.manifest import DiscreteSpace

FORMAT, FORMAT_VERSION = "dreamserve-snapshot", 1
_FURTHEST = 2**53 - 1  # steps, as JSON's numbers hold them
_LARGEST = float(np.finfo(np.float32).max)


def snapshot(session: Session) -> Snapshot:
    """Return all that the session is."""
    world, record = session.world, session.slab.record(session.slot)
    tensors = world.spec.recurrent_state
    whole = Snapshot(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        world=world.name,
        world_version=version_of(world),
        step=record.step,
        seed=record.seed,
        temperature=record.temperature,
        terminated=record.terminated,
        latent=record.latent[0],
        state={t.name: p[0] for t, p in zip(tensors, record.state, strict=True)},
        rewind_window=record.rewind_window,
        action=_action(world, record),
        reward=record.reward,
        last_answer=None if record.kept is None else last_answer_of(record.kept),
        digest="",
    )
    return replace(whole, digest=digest_of(whole))


def restored(world: World, given: Snapshot) -> SessionRecord:
    """Return the session that a snapshot says, for `world`.

    Raises SnapshotRefusedError for another format, content or bundle, and InvalidRequestError and
    its kin for what could be no session of this world.
    """
    check_format(given.format, given.format_version)
    if given.world_version != version_of(world):
        raise SnapshotRefusedError(
            f"the snapshot is of {given.world} {given.world_version},"
            f" loaded here is {world.name} {version_of(world)}"
        )
    record = _record(world, given)
    names = [tensor.name for tensor in world.spec.recurrent_state]
    # As it would be written here: what only looks different, 1 for 1.0, is the same.
    again = replace(
        given,
        latent=record.latent[0],
        state={name: part[0] for name, part in zip(names, record.state, strict=True)},
        temperature=float(given.temperature),
        action=_action(world, record),
        reward=float(given.reward),
        last_answer=None if record.kept is None else last_answer_of(record.kept),
    )
    if digest_of(again) != given.digest:
        raise SnapshotRefusedError("the digest does not fit: the snapshot is damaged or was edited")
    return record


def _record(world: World, given: Snapshot) -> SessionRecord:
    """Return what is said, each part of it checked for `world`."""
    tensors, space = world.spec.recurrent_state, world.spec.action_space
    names = [tensor.name for tensor in tensors]
    if sorted(given.state) != sorted(names):
        raise InvalidRequestError(f"state must hold {names}, not {sorted(given.state)}")
    state = tuple(check_numbers(f"state.{t.name}", given.state[t.name], t.shape) for t in tensors)
    latent = check_latent(world, given.latent)
    step = int(check_range("step", given.step, 0, _FURTHEST))
    reward = check_range("reward", given.reward, -_LARGEST, _LARGEST)
    kept = None
    if step == 0 and (given.action is not None or given.reward or given.last_answer is not None):
        raise InvalidRequestError("before its first step a session has no action and no answer")
    if step and given.last_answer is not None:
        kept = read_last_answer(
            world, given.last_answer, step, latent, state, float(reward), given.terminated
        )
    return SessionRecord(
        latent=latent[None],
        state=tuple(part[None] for part in state),
        seed=check_seed(given.seed),
        step=step,
        temperature=check_temperature(given.temperature),
        terminated=given.terminated,
        action=check_action(space, given.action) if step else 0,
        reward=float(reward),
        kept=kept,
        rewind_window=int(check_range("rewind_window", given.rewind_window, 0)),
    )


def check_format(name: Any, version: Any) -> None:
    """Raise SnapshotRefusedError for what this version does not read."""
    if (name, version) != (FORMAT, FORMAT_VERSION):
        said = f"{str(name)[:80]} {str(version)[:80]}"
        raise SnapshotRefusedError(f"read here is {FORMAT} {FORMAT_VERSION}, not {said}")


def version_of(world: World) -> str | None:
    """Return the version of the world's bundle, None for a world in memory."""
    return None if world.manifest is None else world.manifest.version


def digest_of(given: Snapshot) -> str:
    """Return the digest (BLAKE2b, 128 bits) over all fields but `digest`."""
    content = {one.name: getattr(given, one.name) for one in fields(given) if one.name != "digest"}
    written = json.dumps(content, sort_keys=True, default=_array)
    return blake2b(written.encode(), digest_size=16).hexdigest()


def _array(array: np.ndarray[Any, Any]) -> list[Any]:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return [little.dtype.str, list(array.shape), little.tobytes().hex()]


def _action(world: World, record: SessionRecord) -> Any:
    """Return the last step's action as it is written, None before the first."""
    if not record.step:
        return None
    discrete = isinstance(world.spec.action_space, DiscreteSpace)
    return int(record.action) if discrete else record.action
