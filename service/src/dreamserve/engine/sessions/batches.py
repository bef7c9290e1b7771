"""Many sessions in one request, in columns: /step/batch and /reset/batch.

Work of some length, so these are generators that yield between calls of the world. What is wrong
with the columns as such fails the request; what is wrong with a row is that row's own error.
"""

import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np

from dreamserve.backends.base import Actions, Array, Int64
from dreamserve.backends.rows import span
from dreamserve.engine.actions import check_action, check_columns
from dreamserve.engine.checks import LARGEST_SEED, MAX_TEMPERATURE, check_range
from dreamserve.engine.dynamics import empty_state, start_from_bank
from dreamserve.engine.sessions.slab import Slab
from dreamserve.engine.sessions.steps import (
    has_ended,
    not_finite,
    out_of_order,
    take,
    taken_differently,
)
from dreamserve.engine.sessions.table import Sessions
from dreamserve.engine.types import (
    ResetBatchRequest,
    ResetBatchResult,
    StepBatchRequest,
    StepBatchResult,
)
from dreamserve.engine.work import Work, failure
from dreamserve.engine.world import World
from dreamserve.errors import (
    DrainingError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
    OverloadedError,
    SessionExpiredError,
    SessionNotFoundError,
    WireError,
)

Errors = dict[int, WireError]


def step_batch(
    sessions: Sessions, default: World, request: StepBatchRequest, slice_rows: int
) -> Work[StepBatchResult]:
    """Take the steps, `slice_rows` at a time. Raises InvalidRequestError, InvalidActionError."""
    ids, count = request.session_ids, len(request.session_ids)
    _check_lengths(count, actions=request.actions, steps=request.steps)
    errors = _repeated(ids)
    world = _world_of(sessions, ids, default)
    actions, fits = check_columns(world.spec.action_space, request.actions)
    for i in np.flatnonzero(~fits):
        errors.setdefault(int(i), _action_error(world, request.actions[i]))
    result = StepBatchResult(
        session_ids=ids,
        steps=np.zeros(count, np.int64),
        latents=np.zeros((count, world.spec.latent_size), np.float32),
        rewards=np.zeros(count, np.float32),
        terminated=np.zeros(count, np.bool_),
        truncated=np.zeros(count, np.bool_),
        errors=errors,
    )
    for first in range(0, count, slice_rows):
        yield None
        rows = range(first, min(first + slice_rows, count))
        try:
            _take_slice(sessions, world, rows, actions, request.steps, result)
        except Exception as error:  # the slices before were taken, so it is these rows' error
            failed = failure(error)
            result.errors.update((i, failed) for i in rows if i not in result.errors)
    return result


def _take_slice(
    sessions: Sessions,
    world: World,
    rows: range,
    actions: Actions,
    steps: Int64 | None,
    result: StepBatchResult,
) -> None:
    """Take the steps of some rows, and write their answers into `result`."""
    slab = sessions.slabs[world.name]
    index, slots = _find(sessions, world, rows, result)
    if not len(index):
        return
    current = slab.step[slots]
    asked = current + 1 if steps is None else steps[span(index)]
    go = (asked == current + 1) & ~slab.terminated[slots]
    if not go.all():
        for k in np.flatnonzero(~go).tolist():
            _do_not_go(slab, int(slots[k]), int(index[k]), int(asked[k]), actions, result)
        index, slots = index[go], slots[go]
        if not len(index):
            return
    taken = take(slab, slots, actions[span(index)], {})
    good = taken.good
    if not good.all():
        for k in np.flatnonzero(~good).tolist():
            result.errors[int(index[k])] = not_finite(int(taken.number[k]))
        index = index[good]
    where, good_rows = span(index), span(np.flatnonzero(good))
    result.steps[where] = taken.number[good_rows]
    result.latents[where] = taken.latent[good_rows]
    result.rewards[where] = taken.staged.reward[good_rows]
    result.terminated[where] = taken.terminated[good_rows]


def _find(
    sessions: Sessions, world: World, rows: range, result: StepBatchResult
) -> tuple[Int64, Int64]:
    """Return those rows (B,) that have no error, and the slots (B,) of their sessions."""
    ids = result.session_ids[rows.start : rows.stop]
    if not result.errors:
        slots = sessions.find_all(ids, world)
        if slots is not None:
            return np.arange(rows.start, rows.stop), slots
    found = {}
    for i, session_id in zip(rows, ids, strict=True):
        if i in result.errors:
            continue
        try:
            session = sessions.find(session_id)
        except (SessionNotFoundError, SessionExpiredError) as error:
            result.errors[i] = error
            continue
        if session.world is world:
            found[i] = session.slot
            continue
        result.errors[i] = InvalidRequestError(
            f"the batch is of world {world.name}, this session of {session.world.name}"
        )
    return np.array(list(found), np.int64), np.array(list(found.values()), np.int64)


def _do_not_go(
    slab: Slab, slot: int, i: int, asked: int, actions: Actions, result: StepBatchResult
) -> None:
    """Answer row `i` whose step is not to be taken now: it was taken already, or cannot be."""
    current = int(slab.step[slot])
    if asked == current + 1:
        result.errors[i] = has_ended(current)
    elif asked != current or current == 0:
        result.errors[i] = out_of_order(current + 1, asked)
    elif slot in slab.kept or not np.array_equal(slab.action[slot], actions[i]):
        result.errors[i] = taken_differently(current)
    else:
        result.steps[i], result.latents[i] = current, slab.rows.read(slot)[0][0]
        result.rewards[i], result.terminated[i] = slab.reward[slot], slab.terminated[slot]


def _world_of(sessions: Sessions, ids: Sequence[str], default: World) -> World:
    """Return the world of the first session that is there."""
    for session_id in ids:
        try:
            return sessions.find(session_id, use=False).world
        except (SessionNotFoundError, SessionExpiredError):
            continue
    return default


def _action_error(world: World, action: Any) -> WireError:
    try:
        check_action(world.spec.action_space, action)
    except (InvalidActionError, NotFiniteInputError) as error:
        return error
    raise AssertionError(f"{action!r} was found wrong, and is right")


def reset_batch(
    sessions: Sessions, world: World, request: ResetBatchRequest, slice_rows: int
) -> Work[ResetBatchResult]:
    """Begin the dreams, `slice_rows` at a time. Raises InvalidRequestError."""
    count, spec = request.count, world.spec
    _check_lengths(
        count,
        session_ids=request.session_ids,
        seeds=request.seeds,
        temperatures=request.temperatures,
        bank=request.bank,
        latents=request.latents,
    )
    if request.latents is not None and request.latents.shape != (count, spec.latent_size):
        shape = list(request.latents.shape)
        raise InvalidRequestError(f"latents must be [{count}, {spec.latent_size}], not {shape}")
    if request.latents is not None and request.bank is not None:
        raise InvalidRequestError("give bank or latents, not both")
    check_range("rewind_window", request.rewind_window, 0)
    drawn = np.frombuffer(secrets.token_bytes(8 * count), np.uint64) >> np.uint64(11)
    result = ResetBatchResult(
        world=world.name,
        session_ids=request.session_ids or [secrets.token_hex(16) for _ in range(count)],
        latents=np.zeros((count, spec.latent_size), np.float32),
        seeds=drawn.astype(np.int64) if request.seeds is None else request.seeds.copy(),
        temperatures=np.ones(count, np.float32)
        if request.temperatures is None
        else request.temperatures.copy(),
        errors=_repeated(request.session_ids or ()),
    )
    _check_rows(world, request, result)
    for first in range(0, count, slice_rows):
        yield None
        rows = range(first, min(first + slice_rows, count))
        _begin_slice(sessions, world, request, rows, result)
    for i in result.errors:
        result.seeds[i], result.temperatures[i] = 0, 0
    return result


def _check_rows(world: World, request: ResetBatchRequest, result: ResetBatchResult) -> None:
    """Write down what is wrong with each row."""
    wrong: list[tuple[Any, str]] = [
        (
            (result.seeds < 0) | (result.seeds > LARGEST_SEED),
            f"seed must be within 0 and {LARGEST_SEED}",
        ),
        (
            ~((result.temperatures >= 0) & (result.temperatures <= MAX_TEMPERATURE)),
            f"temperature must be a number within 0 and {MAX_TEMPERATURE:g}",
        ),
    ]
    if request.bank is not None:
        outside = (request.bank < 0) | (request.bank >= world.bank_size)
        wrong.append((outside, f"the bank has entries 0 to {world.bank_size - 1}"))
    if request.latents is not None:
        infinite = ~np.isfinite(request.latents).all(axis=1)
        wrong.append((infinite, "the latent holds NaN or infinity"))
    for rows, said in wrong:
        for i in np.flatnonzero(rows):
            result.errors.setdefault(int(i), InvalidRequestError(said))


def _begin_slice(
    sessions: Sessions,
    world: World,
    request: ResetBatchRequest,
    rows: range,
    result: ResetBatchResult,
) -> None:
    index = np.array([i for i in rows if i not in result.errors], np.int64)
    if not len(index):
        return
    seeds = result.seeds[index].astype(np.uint64)
    if request.latents is not None:
        latent: Array = request.latents[index].astype(np.float32)
        state = empty_state(world, len(index))
    else:
        bank = None if request.bank is None else request.bank[index]
        latent, state = start_from_bank(world, seeds, bank)
    slots, put = [], []
    for k, i in enumerate(index.tolist()):
        session_id = result.session_ids[i]
        if request.known_only and session_id not in sessions:
            result.errors[i] = DrainingError("the server is shutting down: no new sessions")
            continue
        try:
            slots.append(sessions.put(session_id, world, request.rewind_window).slot)
            put.append(k)
        except OverloadedError as error:
            result.errors[i] = error
    if put:
        state = tuple(part[put] for part in state)
        slab = sessions.slabs[world.name]
        slab.begin(np.array(slots), latent[put], state, seeds[put], result.temperatures[index[put]])
        result.latents[index[put]] = latent[put]


def _check_lengths(count: int, **columns: Any) -> None:
    if count < 1:
        raise InvalidRequestError("a batch has at least one row")
    for name, column in columns.items():
        if column is not None and len(column) != count:
            raise InvalidRequestError(f"{name} has {len(column)} rows, the batch {count}")


def _repeated(ids: Sequence[str]) -> Errors:
    """Return an error for every row whose session an earlier row has."""
    if len(set(ids)) == len(ids):
        return {}
    errors, seen = Errors(), set[str]()
    for i, session_id in enumerate(ids):
        if session_id in seen:
            errors[i] = InvalidRequestError(f"session {session_id} is in an earlier row already")
        seen.add(session_id)
    return errors
