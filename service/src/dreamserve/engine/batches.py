"""Many sessions in one request, in columns: /step/batch and /reset/batch.

Work of some length, so these are generators that yield between calls of the world. What is wrong
with the columns as such fails the request; what is wrong with a row is that row's own error.
"""

import secrets
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from dreamserve.backends.base import Actions, Array, Int64
from dreamserve.engine.actions import check_action, check_columns
from dreamserve.engine.checks import HOTTEST, LARGEST_SEED
from dreamserve.engine.runner import empty_state, start_from_bank
from dreamserve.engine.sessions import Session, Sessions
from dreamserve.engine.steps import (
    has_ended,
    not_finite,
    out_of_order,
    stored,
    take,
    taken_differently,
)
from dreamserve.engine.types import (
    ResetBatchRequest,
    ResetBatchResult,
    StepBatchRequest,
    StepBatchResult,
)
from dreamserve.engine.work import failure
from dreamserve.engine.world import World
from dreamserve.errors import (
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
) -> Generator[None, None, StepBatchResult]:
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
        yield
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
    found = _find(sessions, world, rows, result)
    if not found:
        return
    index = np.fromiter(found, np.int64, len(found))
    slab = sessions.slabs[world.name]
    slots = np.array([session.slot for session in found.values()])
    current = slab.step[slots]
    asked = current + 1 if steps is None else steps[index]
    again = (asked == current) & (current > 0)
    go = (asked == current + 1) & ~slab.terminated[slots]
    for i in index[again]:
        _repeat(found[int(i)], int(i), actions[i], result)
    for k in np.flatnonzero(~again & ~go):
        following, number = int(current[k]) + 1, int(asked[k])
        ended = number == following
        error = has_ended(number - 1) if ended else out_of_order(following, number)
        result.errors[int(index[k])] = error
    if not go.all():
        index, slots = index[go], slots[go]
    if not len(index):
        return
    taken = take(slab, slots, actions[index], {})
    for i in index[~taken.good]:
        result.errors[int(i)] = not_finite(found[int(i)].step + 1)
    good = index[taken.good]
    result.steps[good] = taken.number[taken.good]
    result.latents[good] = taken.latent[taken.good]
    result.rewards[good] = taken.staged.reward[taken.good]
    result.terminated[good] = taken.terminated[taken.good]
    for i in good.tolist():
        found[i].last = None


def _find(
    sessions: Sessions, world: World, rows: range, result: StepBatchResult
) -> dict[int, Session]:
    """Return the sessions of those rows that have no error yet, by row."""
    wanted = [i for i in rows if i not in result.errors] if result.errors else list(rows)
    found = sessions.find_all([result.session_ids[i] for i in wanted], world)
    if found:
        return dict(zip(wanted, found, strict=True))
    by_row = {}
    for i in wanted:
        try:
            session = sessions.find(result.session_ids[i])
        except (SessionNotFoundError, SessionExpiredError) as error:
            result.errors[i] = error
            continue
        if session.world is world:
            by_row[i] = session
            continue
        result.errors[i] = InvalidRequestError(
            f"the batch is of world {world.name}, this session of {session.world.name}"
        )
    return by_row


def _repeat(session: Session, i: int, action: Any, result: StepBatchResult) -> None:
    """Answer a step that is sent again, if it is the same."""
    if session.last is not None or not np.array_equal(session.slab.action[session.slot], action):
        result.errors[i] = taken_differently(session.step)
        return
    last = stored(session)
    result.steps[i], result.latents[i] = last.step, last.latent
    result.rewards[i], result.terminated[i] = last.reward, last.terminated


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
) -> Generator[None, None, ResetBatchResult]:
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
        yield
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
            ~((result.temperatures >= 0) & (result.temperatures <= HOTTEST)),
            f"temperature must be a number within 0 and {HOTTEST:g}",
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
        try:
            slots.append(sessions.put(result.session_ids[i], world).slot)
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
