"""Snapshots: a session as a document that any server with the same bundle makes a session of.

It is all that the session is, its window of earlier steps excepted. The digest is over the content,
not over how that is written, so a snapshot may be kept as JSON or as msgpack.
"""

import json
from dataclasses import fields, replace
from hashlib import blake2b
from typing import Any

import numpy as np

from dreamserve.engine.actions import check_action
from dreamserve.engine.checks import check_latent, check_range, check_seed, check_temperature
from dreamserve.engine.record import SessionRecord
from dreamserve.engine.sessions import Session
from dreamserve.engine.slab import Kept
from dreamserve.engine.types import Snapshot, StepResult
from dreamserve.engine.world import World
from dreamserve.errors import InvalidRequestError, NotFiniteInputError, SnapshotRefusedError
from dreamserve.manifest import DiscreteSpace

FORMAT, FORMAT_VERSION = "dreamserve-snapshot", 1
_FURTHEST = 2**53 - 1  # steps, as JSON's numbers hold them


def snapshot(session: Session) -> Snapshot:
    """Return all that the session is."""
    world, record = session.world, session.slab.record(session.slot)
    tensors = world.spec.recurrent_state
    discrete = isinstance(world.spec.action_space, DiscreteSpace)
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
        action=int(record.action) if discrete else record.action,
        reward=record.reward,
        plain=record.kept is None,
        digest="",
    )
    return replace(whole, digest=digest_of(whole))


def restored(world: World, given: Snapshot) -> SessionRecord:
    """Return the session that a snapshot says, for `world`.

    Raises SnapshotRefusedError for another format, content or bundle, and InvalidRequestError and
    its kin for what could be no session of this world.
    """
    if (given.format, given.format_version) != (FORMAT, FORMAT_VERSION):
        said = f"{given.format} {given.format_version}"
        raise SnapshotRefusedError(f"read here is {FORMAT} {FORMAT_VERSION}, not {said}")
    if given.world_version != version_of(world):
        raise SnapshotRefusedError(
            f"the snapshot is of {given.world} {given.world_version},"
            f" loaded here is {world.name} {version_of(world)}"
        )
    tensors = world.spec.recurrent_state
    names = [tensor.name for tensor in tensors]
    if sorted(given.state) != sorted(names):
        raise InvalidRequestError(f"state must hold {names}, not {sorted(given.state)}")
    state = tuple(_tensor(t.name, given.state[t.name], t.shape)[None] for t in tensors)
    latent = check_latent(world, given.latent)
    step = int(check_range("step", given.step, 0, _FURTHEST))
    whole = replace(
        given,
        latent=latent,
        state={name: part[0] for name, part in zip(names, state, strict=True)},
        action=check_action(world.spec.action_space, given.action) if step else given.action,
    )
    if digest_of(whole) != given.digest:
        raise SnapshotRefusedError("the digest does not fit: the snapshot is damaged or was edited")
    return SessionRecord(
        latent=latent[None],
        state=state,
        seed=check_seed(given.seed),
        step=step,
        temperature=check_temperature(given.temperature),
        terminated=given.terminated,
        action=whole.action,
        reward=check_range("reward", given.reward, -np.inf),
        kept=None if given.plain else _UNKNOWN,
    )


# Of a step that had more than an action, a snapshot does not hold the answer: it is never repeated.
_UNKNOWN = Kept(StepResult("", 0, np.empty(0, np.float32), 0.0, False), ("restored",))


def version_of(world: World) -> str | None:
    """Return the version of the world's bundle, None for a world in memory."""
    return None if world.manifest is None else world.manifest.version


def digest_of(given: Snapshot) -> str:
    """Return the digest over all fields but `digest`; arrays as float32, little-endian."""
    digest = blake2b(digest_size=16)
    content = {one.name: getattr(given, one.name) for one in fields(given) if one.name != "digest"}
    state = content.pop("state")
    for name, array in [*sorted(state.items()), ("latent", content.pop("latent"))]:
        digest.update(name.encode() + b"\0" + np.asarray(array, "<f4").tobytes())
    action = np.asarray(content.pop("action"), "<f8")
    digest.update(action.tobytes())
    digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()


def _tensor(name: str, given: Any, shape: tuple[int, ...]) -> Any:
    array = np.asarray(given)
    if array.dtype.kind not in "fiu" or array.shape != shape:
        raise InvalidRequestError(
            f"state.{name} must be numbers of shape {list(shape)}, not {array.dtype}"
            f" {list(array.shape)}"
        )
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise NotFiniteInputError(f"state.{name} holds NaN or infinity")
    return numbers
