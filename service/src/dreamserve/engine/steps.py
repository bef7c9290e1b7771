"""A batch of steps: admit each row, stage the batch, commit the rows that came out finite.

Nothing is written before the batch has been computed, and then only the good rows: a refused, a
failed or a non-finite row leaves its session as it was and harms no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from dreamserve.backends.base import Actions, Array
from dreamserve.engine.actions import check_action
from dreamserve.engine.checks import check_latent
from dreamserve.engine.mixture import describe, surprise
from dreamserve.engine.pixels import check_frames, to_numbers, to_pixels
from dreamserve.engine.runner import Advanced, Bools, advance, finite_rows
from dreamserve.engine.sessions import Content, Session
from dreamserve.engine.types import StepRequest, StepResult, UInt8
from dreamserve.engine.world import World
from dreamserve.errors import DreamNotFiniteError, StepConflictError
from dreamserve.manifest import DiscreteSpace


@dataclass(slots=True, eq=False)
class StepRow:
    """A step that may be taken."""

    session: Session
    request: StepRequest
    action: int | Actions  # an int, or (A,) float32
    frame: UInt8 | None  # the real next frame, as the world sees it
    latent: Array | None  # the real next latent (Z,)
    content: Content  # what tells this step from another with the same number


def admit(session: Session, request: StepRequest) -> StepRow | StepResult:
    """Return the row to compute, or the stored answer of a step that is sent again.

    Raises InvalidActionError, InvalidRequestError, NotFiniteInputError, StepConflictError.
    """
    spec = session.world.spec
    action = check_action(spec.action_space, request.action)
    frame, latent = _observation(session.world, request.observation)
    content = _content(request, action, frame, latent)
    taken = session.step
    if session.last is not None and request.step == taken:
        if content == session.last_content:
            return session.last
        raise StepConflictError(f"step {taken} was taken already, and asked for differently")
    if request.step is not None and request.step != taken + 1:
        raise StepConflictError(f"the next step is {taken + 1}, not {request.step}")
    if session.slab.terminated[session.slot]:
        raise StepConflictError(f"the dream has ended with step {taken}; POST /reset starts over")
    return StepRow(session, request, action, frame, latent, content)


def take_steps(
    world: World, rows: Sequence[StepRow], padded: int
) -> list[StepResult | DreamNotFiniteError]:
    """Advance B different sessions of one world, and answer in their order.

    The batch is filled up to `padded` rows, so that the graph meets few different sizes.
    """
    slab = rows[0].session.slab
    slots = np.array([row.session.slot for row in rows])
    filled = np.concatenate([slots, np.repeat(slots[:1], padded - len(rows))])
    discrete = isinstance(world.spec.action_space, DiscreteSpace)
    actions = np.array([row.action for row in rows], np.int64 if discrete else np.float32)
    advanced = advance(
        world,
        slab.latent[filled],
        tuple(part[filled] for part in slab.state),
        np.concatenate([actions, np.repeat(actions[:1], padded - len(rows), axis=0)]),
        slab.seed[filled],
        slab.step[filled] + 1,
        slab.temperature[filled],
    )
    latent = _corrected(world, rows, advanced.latent[: len(rows)])
    # Reality knows whether it goes on: where it was observed, the dream's end is a forecast only.
    observed = np.array([row.frame is not None or row.latent is not None for row in rows])
    terminated = advanced.terminated[: len(rows)] & ~observed
    finite = advanced.finite[: len(rows)] & finite_rows(latent)
    frames = _pictures(world, rows, latent, finite)
    slab.commit(
        slots[finite],
        latent[finite],
        tuple(part[: len(rows)][finite] for part in advanced.state),
        terminated[finite],
    )
    return [
        _remember(row, _result(row, i, advanced, latent[i].copy(), bool(terminated[i]), frames))
        if finite[i]
        else _not_finite(row)
        for i, row in enumerate(rows)
    ]


def _observation(world: World, observation: Any) -> tuple[UInt8 | None, Array | None]:
    """Return (frame as the world sees it, None) or (None, latent), both None without one."""
    if observation is None:
        return None, None
    array = np.asarray(observation)
    if array.dtype == np.uint8:
        return check_frames(world.spec.frame, array[None])[0], None
    return None, check_latent(world, array)


def _content(
    request: StepRequest, action: int | Actions, frame: UInt8 | None, latent: Array | None
) -> Content:
    taken = action if isinstance(action, int) else action.tobytes()
    if frame is not None:
        return taken, request.include, "frame", blake2b(frame.tobytes(), digest_size=16).digest()
    if latent is not None:
        return taken, request.include, "latent", latent.tobytes()
    return taken, request.include


def _corrected(world: World, rows: Sequence[StepRow], latent: Array) -> Array:
    """Return the latents with what was really observed in place of what was dreamt."""
    seen = [i for i, row in enumerate(rows) if row.frame is not None]
    if not seen and all(row.latent is None for row in rows):
        return latent
    latent = latent.copy()
    if seen:
        frames = np.stack([row.frame for row in rows if row.frame is not None])
        latent[seen] = world.backend.encode(to_numbers(world.spec.frame, frames))[0]
    for i, row in enumerate(rows):
        if row.latent is not None:
            latent[i] = row.latent
    return latent


def _pictures(
    world: World, rows: Sequence[StepRow], latent: Array, finite: Bools
) -> dict[int, UInt8]:
    """Return the frames of the rows that ask for one; a row without a finite one fails."""
    wanted = [i for i, row in enumerate(rows) if finite[i] and "frame" in row.request.include]
    if not wanted:
        return {}
    frames = world.backend.decode(latent[wanted])
    finite[wanted] = finite_rows(frames)
    return {
        i: to_pixels(world.spec.frame, frame)
        for i, frame in zip(wanted, frames, strict=True)
        if finite[i]
    }


def _result(
    row: StepRow,
    i: int,
    advanced: Advanced,
    latent: Array,
    terminated: bool,
    frames: dict[int, UInt8],
) -> StepResult:
    session, include = row.session, row.request.include
    info: dict[str, Any] = {}
    if row.frame is not None or row.latent is not None:
        info["surprise"] = surprise(advanced.output, i, latent)
        info["expected_surprise"] = surprise(advanced.output, i, advanced.latent[i])
        info["predicted_terminated"] = bool(advanced.terminated[i])
    state = None
    if "state" in include:
        names = (tensor.name for tensor in session.world.spec.recurrent_state)
        state = {n: np.array(p[i]) for n, p in zip(names, advanced.state, strict=True)}
    return StepResult(
        session_id=session.id,
        step=session.step,
        latent=latent,
        reward=float(advanced.reward[i]),
        terminated=terminated,
        truncated=False,
        info=info,
        frame=frames.get(i),
        mixture=describe(advanced.output, i) if "mixture" in include else None,
        state=state,
    )


def _remember(row: StepRow, result: StepResult) -> StepResult:
    row.session.last, row.session.last_content = result, row.content
    return result


def _not_finite(row: StepRow) -> DreamNotFiniteError:
    return DreamNotFiniteError(
        f"step {row.session.step + 1} came out as NaN or infinity and was not taken;"
        " the session stays where it was"
    )
