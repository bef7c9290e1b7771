"""/reset/batch: start many sessions' dreams in one world, or start them over, in columns."""

import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import Array, Int64, State, UInt64
from dreamserve.engine.dynamics import Work, empty_state, start_from_bank
from dreamserve.engine.failed_rows import blanked
from dreamserve.engine.handlers.base import Context
from dreamserve.engine.handlers.columns import Columns, batch_size, rows_at_once
from dreamserve.engine.handlers.rows import RowErrors, duplicate_errors
from dreamserve.engine.sessions.records import NO_LIMIT
from dreamserve.engine.sessions.restarts import SEED_BITS
from dreamserve.engine.shown import check_shown
from dreamserve.engine.world import World
from dreamserve_protocol.batches import ResetBatchRequest, ResetBatchResult
from dreamserve_protocol.common import LARGEST_INTEGER, LARGEST_LATENT, MAX_TEMPERATURE
from dreamserve_protocol.errors import (
    CallerError,
    DrainingError,
    InvalidRequestError,
    NotFiniteInputError,
    OverloadedError,
)
from dreamserve_protocol.ids import new_id, new_route

_EXCESS_BITS = np.uint64(64 - SEED_BITS)


def reset_batch(context: Context, request: ResetBatchRequest) -> Work[ResetBatchResult]:
    """Start the dreams, `batch_rows` at a time. Raises CallerError, DrainingError."""
    context.sessions.check_admission_of_some(request.session_ids or ())
    world, count = context.world(request.world), request.rows
    context.limits.check_rows(count)
    context.limits.check_rewind_window(request.rewind_window)
    shape = (count, world.spec.latent_size)
    if request.latents is not None and np.shape(request.latents) != shape:
        actual = list(np.shape(request.latents))
        raise InvalidRequestError(f"latents must be {list(shape)}, not {actual}")
    has_frames = check_shown(world, request.include)
    context.limits.check_frames(count * has_frames, "include")
    yield batch_size(context.limits, world.spec, count, request.include)
    drawn = np.frombuffer(secrets.token_bytes(8 * count), np.uint64) >> _EXCESS_BITS
    seeds, temperatures = request.seeds, request.temperatures
    columns, route = Columns.of(world, count, request.include), new_route()
    decoded: Any = columns.decoded()
    result = ResetBatchResult(
        world=world.name,
        session_ids=(ids := list(request.session_ids or ())),
        latents=columns.latents,
        seeds=drawn.astype(np.int64) if seeds is None else np.array(seeds, np.int64),
        temperatures=_float32(1.0 if temperatures is None else temperatures, count),
        state=columns.state,
        **decoded,
    )
    errors = yield from duplicate_errors(result.session_ids)
    _check_rows(world, request, result, errors)
    at_once = rows_at_once(context.batch_rows, has_frames)
    for first in range(0, count, at_once):
        yield None
        rows = range(first, min(first + at_once, count))
        if request.session_ids is None:
            ids.extend(new_id(route) for _ in rows)
        _begin_slice(context, request, rows, result, columns, errors)
    result.errors.extend((yield from errors.to_list()))
    return blanked(result, list(errors))


def _check_rows(
    world: World, request: ResetBatchRequest, result: ResetBatchResult, errors: RowErrors
) -> None:
    """Add an error for each invalid row."""
    seeds = result.seeds
    # as they were given: a float32 of a number beyond the bound may be within it
    temperatures = np.asarray(1.0 if request.temperatures is None else request.temperatures)
    checks: list[tuple[Any, CallerError]] = [  # (mask of invalid rows, their error)
        (
            (seeds < 0) | (seeds > LARGEST_INTEGER),
            InvalidRequestError(f"seed must be within 0 and {LARGEST_INTEGER}"),
        ),
        (
            ~np.isfinite(temperatures),
            NotFiniteInputError("temperature must be a finite number"),
        ),
        (
            (temperatures < 0) | (temperatures > MAX_TEMPERATURE),
            InvalidRequestError(f"temperature must be within 0 and {MAX_TEMPERATURE:g}"),
        ),
    ]
    if request.bank is not None:
        bank = np.asarray(request.bank)
        outside = (bank < 0) | (bank >= world.bank_size)
        error = InvalidRequestError(f"the bank has entries 0 to {world.bank_size - 1}")
        checks.append((outside, error))
    if request.latents is not None:
        beyond = ~(np.abs(np.asarray(request.latents)) <= LARGEST_LATENT).all(axis=1)
        bound = f"a latent's numbers must be finite and within ±{LARGEST_LATENT:g}"
        checks.append((beyond, NotFiniteInputError(bound)))
    for invalid, problem in checks:
        for i in np.flatnonzero(invalid).tolist():
            errors.set_default(i, problem)


def _float32(temperatures: npt.ArrayLike, count: int) -> Array:
    """Return temperatures (count,) as dreams have them; those that are invalid may be infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.full(count, temperatures, np.float32)


def _begin_slice(
    context: Context,
    request: ResetBatchRequest,
    rows: range,
    result: ResetBatchResult,
    columns: Columns,
    errors: RowErrors,
) -> None:
    """Begin the dreams of these rows, and write them."""
    index = np.array([i for i in rows if i not in errors], np.int64)
    if not len(index):
        return
    seeds = result.seeds[index].astype(np.uint64)
    latent, state = _beginnings(columns.world, request, index, seeds)
    columns.write(index, latent, state)
    columns.decode(index, errors)  # before a session is replaced
    is_shown = np.array([i not in errors for i in index.tolist()])
    index, seeds, latent = index[is_shown], seeds[is_shown], latent[is_shown]
    state = tuple(part[is_shown] for part in state)
    kept, placed = _created(context, request, result.session_ids, index, columns.world, errors)
    if len(kept):
        slab = context.sessions.slab_of(columns.world)
        slab.temperature[placed] = result.temperatures[index[kept]]
        slab.max_steps[placed] = request.max_steps or NO_LIMIT
        slab.begin(placed, latent[kept], tuple(part[kept] for part in state), seeds[kept])


def _beginnings(
    world: World, request: ResetBatchRequest, index: Int64, seeds: UInt64
) -> tuple[Array, State]:
    """Return where the dreams of rows `index` (B,) begin: latents (B, Z), state (B, *shape)."""
    if request.latents is not None:
        latent: Array = np.asarray(request.latents)[index].astype(np.float32)
        return latent, empty_state(world, len(index))
    bank = None if request.bank is None else np.asarray(request.bank)[index]
    age = "beginning" if request.age is None else request.age
    return start_from_bank(world, seeds, bank, age)


def _created(
    context: Context,
    request: ResetBatchRequest,
    ids: Sequence[str],
    index: Int64,
    world: World,
    errors: RowErrors,
) -> tuple[Int64, Int64]:
    """Create the sessions of rows `index` (B,) for which there is room.

    Return their places (N,) in `index`, and their slots (N,).
    """
    slots, created = [], []
    full: OverloadedError | DrainingError | None = None  # for the slice's other new sessions, too
    for k, i in enumerate(index.tolist()):
        session_id = ids[i]
        is_new = session_id not in context.sessions
        if is_new and full is not None:
            errors[i] = full
            continue
        try:
            context.sessions.check_admission(session_id)
            session = context.sessions.create(session_id, world, request.rewind_window)
        except (DrainingError, OverloadedError) as error:
            errors[i] = error
            full = error if is_new else full
            continue
        slots.append(session.slot)
        created.append(k)
    return np.array(created, np.int64), np.array(slots, np.int64)
