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
from dreamserve.engine.sessions import Session
from dreamserve.engine.types import StepRequest, StepResult, UInt8
from dreamserve.engine.world import World
from dreamserve.errors import DreamNotFiniteError, StepConflictError


@dataclass(slots=True, eq=False)
class StepRow:
    """A step that may be taken."""

    session: Session
    request: StepRequest
    action: Actions  # () int64 or (A,) float32
    frame: UInt8 | None  # the real next frame, as the world sees it
    latent: Array | None  # the real next latent (Z,)
    content: bytes  # what tells this step from another with the same number


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
    actions = np.stack([row.action for row in rows])
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
    request: StepRequest, action: Actions, frame: UInt8 | None, latent: Array | None
) -> bytes:
    digest = blake2b(action.tobytes(), digest_size=16)
    digest.update(",".join(sorted(request.include)).encode())
    for name, part in (("frame", frame), ("latent", latent)):
        if part is not None:
            digest.update(name.encode() + part.tobytes())
    return digest.digest()


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
    spec, include = row.session.world.spec, row.request.include
    states = zip(spec.recurrent_state, advanced.state, strict=True)
    info: dict[str, Any] = {}
    if row.frame is not None or row.latent is not None:
        info["surprise"] = surprise(advanced.output, i, latent)
        info["expected_surprise"] = surprise(advanced.output, i, advanced.latent[i])
        info["predicted_terminated"] = bool(advanced.terminated[i])
    return StepResult(
        session_id=row.session.id,
        step=row.session.step,
        latent=latent,
        reward=float(advanced.reward[i]),
        terminated=terminated,
        truncated=False,
        info=info,
        frame=frames.get(i),
        mixture=describe(advanced.output, i) if "mixture" in include else None,
        state={t.name: np.array(part[i]) for t, part in states} if "state" in include else None,
    )


def _remember(row: StepRow, result: StepResult) -> StepResult:
    row.session.last, row.session.last_content = result, row.content
    return result


def _not_finite(row: StepRow) -> DreamNotFiniteError:
    return DreamNotFiniteError(
        f"step {row.session.step + 1} came out as NaN or infinity and was not taken;"
        " the session stays where it was"
    )
