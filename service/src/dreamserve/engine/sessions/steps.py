"""A batch of steps: admit each row, stage the batch, commit the finite rows.

Nothing is written before the batch has been computed, and then only the finite rows: a refused,
failed or non-finite row leaves its session unchanged and affects no other.

Most steps are plain: an action without observation or include. Their result is in the slab
afterwards, so nothing else is stored. Other steps have `StepExtras`, and their result is stored in
case they are sent again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamserve.backends.base import Actions, Array, Bools, Int64, PendingStep
from dreamserve.backends.finite import finite_rows
from dreamserve.engine.pixels import Shown
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.sessions.slab import NO_EXTRAS, LastAnswer, Slab
from dreamserve.engine.sessions.step_extras import (
    Described,
    StepExtras,
    corrected,
    decode_rows,
    describe,
    extras_of,
)
from dreamserve_protocol.errors import (
    A_RESET,
    DreamEndedError,
    DreamNotFiniteError,
    StepConflictError,
)
from dreamserve_protocol.step import StepRequest, StepResult


@dataclass(slots=True, eq=False)
class AdmittedStep:
    """A valid step, which has not been computed yet."""

    session: Session
    action: int | Actions  # an int, or (A,) float32
    extra: StepExtras | None


@dataclass(slots=True, eq=False)
class SteppedBatch:
    """B computed steps; the finite ones are committed."""

    number: Int64  # (B,)
    latent: Array  # (B, Z)
    terminated: Bools  # (B,)
    truncated: Bools  # (B,)
    is_finite: Bools  # (B,)
    staged: PendingStep
    shown: dict[int, Shown]  # frames (H, W, C) or vectors (n,), of the rows that requested one
    described: dict[int, Described]  # of the rows with extras


def admit(session: Session, request: StepRequest) -> AdmittedStep | StepResult:
    """Return the step to compute, or the stored result of a step that is sent again.

    Raises InvalidActionError, InvalidRequestError, NotFiniteInputError, StepConflictError and
    DreamEndedError.
    """
    world = session.world
    action = world.spec.action_space.check(request.action)
    plain = request.observation is None and request.vector is None and not request.include
    extra = None
    if not plain:
        include = frozenset(request.include)
        extra = extras_of(world, request.observation, request.vector, include)
    if request.step is not None:
        current = session.step
        if request.step == current and current > 0:
            if is_repeat(session, action, extra):
                return session.last_result()
            raise different_content(current)
        if request.step != current + 1:
            raise out_of_order(current + 1, request.step)
    if session.ended:
        raise has_ended(session.step)
    return AdmittedStep(session, action, extra)


def take_steps(rows: Sequence[AdmittedStep]) -> list[StepResult | DreamNotFiniteError]:
    """Advance B different sessions of one world; return their results in order."""
    slab = rows[0].session.slab
    slots = np.array([row.session.slot for row in rows])
    actions = slab.world.spec.action_space.array([row.action for row in rows])
    extras = {i: row.extra for i, row in enumerate(rows) if row.extra is not None}
    field = slab.world.spec.observation.field
    frame_rows = [i for i, extra in extras.items() if field in extra.include]
    stepped = step_slots(slab, slots, actions, extras, frame_rows)
    columns = zip(
        rows,
        stepped.number.tolist(),
        stepped.latent,
        stepped.staged.reward.tolist(),
        stepped.terminated.tolist(),
        stepped.truncated.tolist(),
        stepped.is_finite.tolist(),
        strict=True,
    )
    results: list[StepResult | DreamNotFiniteError] = []
    for i, (row, number, *described, is_finite) in enumerate(columns):
        if not is_finite:
            results.append(not_finite(number))
            continue
        result = StepResult(row.session.id, number, *described)
        if row.extra is not None:
            add_extra(result, row.session, row.extra, i, stepped)
        results.append(result)
    return results


def step_slots(
    slab: Slab,
    slots: Int64,
    actions: Actions,
    extras: Mapping[int, StepExtras],
    frame_rows: Sequence[int],
) -> SteppedBatch:
    """Advance the dreams of `slots` (B,), all different, by `actions` (B,) or (B, A).

    `extras` are those of some rows, by row; `frame_rows` are decoded.
    """
    world = slab.world
    number, staged = slab.stage(slots, actions)
    terminated = staged.terminated
    truncated = slab.truncated(slots, number)
    if not (extras or frame_rows):
        slab.commit(slots, number, actions, staged, staged.finite, terminated)
        batch = number, staged.latent, terminated, truncated, staged.finite, staged
        return SteppedBatch(*batch, shown={}, described={})
    latent = corrected(world, extras, staged)
    # The real environment decides whether an episode ends: the world's prediction is ignored.
    terminated = terminated.copy()
    terminated[[i for i, extra in extras.items() if extra.observed]] = False
    is_finite = staged.finite & finite_rows(latent)
    shown = decode_rows(world, frame_rows, latent, is_finite)
    described = describe(world, extras, staged, latent, is_finite)
    slab.commit(slots, number, actions, staged, is_finite, terminated, latent)
    batch = number, latent, terminated, truncated, is_finite, staged
    return SteppedBatch(*batch, shown, described)


def different_content(number: int) -> StepConflictError:
    """Return the error for a step that was already taken, with different content."""
    return StepConflictError(f"step {number} was already taken with other content")


def out_of_order(following: int, requested: int) -> StepConflictError:
    """Return the error for a step whose number is not the next one."""
    return StepConflictError(f"the next step is {following}, not {requested}")


def has_ended(number: int) -> DreamEndedError:
    """Return the error for a step of a dream that has ended."""
    return DreamEndedError(f"the dream ended at step {number}; {A_RESET} starts over")


def not_finite(number: int) -> DreamNotFiniteError:
    """Return the error for a step whose outcome is not finite."""
    return DreamNotFiniteError(
        f"step {number} gave NaN or infinity and was not taken; the session is unchanged"
    )


def is_repeat(
    session: Session, action: Any, extra: StepExtras | None, *, restarted: bool = False
) -> bool:
    """Return whether this repeats the last step, which restarted the dream if `restarted`."""
    if not session.last_action_was(action) or session.was_restarted != restarted:
        return False
    content = NO_EXTRAS if extra is None else extra.content
    last = session.last_answer
    return (NO_EXTRAS if last is None else last.content) == content


def add_extra(
    result: StepResult,
    session: Session,
    extra: StepExtras,
    i: int,
    stepped: SteppedBatch,
) -> None:
    """Add the requested extras to row `i`'s result, and store the result."""
    spec, described = session.world.spec, stepped.described[i]
    result.latent = stepped.latent[i].copy()  # a view would keep the whole batch
    result.info, result.mixture, result.state = described.info, described.mixture, described.state
    if extra.observed:
        session.slab.measures.surprise.add(described.info["surprise"])
    if (field := spec.observation.field) in extra.include:
        setattr(result, field, stepped.shown.get(i))
    if "signals" in extra.include:
        result.signals = spec.named_signals(float(part[i]) for part in stepped.staged.signals)
    session.keep_answer(LastAnswer(result, extra.content))
