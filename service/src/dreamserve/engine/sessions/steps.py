"""A batch of steps: admit each row, stage the batch, commit the rows that came out finite.

Nothing is written before the batch has been computed, and then only the finite rows: a refused, a
failed or a non-finite row leaves its session as it was and harms no other.

Most steps are plain: an action, and nothing observed or included. Their result is what then stands
in the slab, so nothing is kept of them. The others have `StepExtras`, and their result is kept for
whoever sends them again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from dreamserve.backends.base import Actions, Array, Bools, Int64, PendingStep, StepOutput
from dreamserve.backends.finite import finite_rows
from dreamserve.engine.checks import check_latent
from dreamserve.engine.mixture import describe, surprise
from dreamserve.engine.pixels import check_frames, to_numbers, to_pixels
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.sessions.slab import Content, LastAnswer, Slab, content_of_latent
from dreamserve.engine.world import World
from dreamserve_protocol.arrays import UInt8
from dreamserve_protocol.errors import DreamEndedError, DreamNotFiniteError, StepConflictError
from dreamserve_protocol.step import StepRequest, StepResult

_NOTHING = frozenset[str]()
NO_EXTRAS: Content = (_NOTHING,)  # of a step that is its action alone


@dataclass(slots=True, eq=False)
class StepExtras:
    """What a step has beyond its action."""

    include: frozenset[str]
    frame: UInt8 | None  # the real next frame, as the world sees it
    latent: Array | None  # the real next latent (Z,)
    content: Content  # what tells it from another step with the same number and action

    @property
    def observed(self) -> bool:
        """Whether reality was seen."""
        return self.frame is not None or self.latent is not None


@dataclass(slots=True, eq=False)
class AdmittedStep:
    """A step that may be taken."""

    session: Session
    action: int | Actions  # an int, or (A,) float32
    extra: StepExtras | None


@dataclass(slots=True, eq=False)
class SteppedBatch:
    """B steps that were computed, and committed where they came out finite."""

    number: Int64  # (B,)
    latent: Array  # (B, Z)
    terminated: Bools  # (B,)
    truncated: Bools  # (B,)
    is_finite: Bools  # (B,)
    staged: PendingStep
    frames: dict[int, UInt8]  # (H, W, C), of the rows that asked for one


def admit(session: Session, request: StepRequest) -> AdmittedStep | StepResult:
    """Return the row to compute, or the stored result of a step that is sent again.

    Raises InvalidActionError, InvalidRequestError, NotFiniteInputError, StepConflictError and
    DreamEndedError.
    """
    world = session.world
    action = world.spec.action_space.check(request.action)
    plain = request.observation is None and not request.include
    extra = None if plain else extras_of(world, request.observation, frozenset(request.include))
    if request.step is not None:
        taken = session.step
        if request.step == taken and taken > 0:
            if was_asked(session, action, extra):
                return session.last_result()
            raise taken_differently(taken)
        if request.step != taken + 1:
            raise out_of_order(taken + 1, request.step)
    if session.ended:
        raise has_ended(session.step)
    return AdmittedStep(session, action, extra)


def take_steps(rows: Sequence[AdmittedStep]) -> list[StepResult | DreamNotFiniteError]:
    """Advance B different sessions of one world; return their results in order."""
    slab = rows[0].session.slab
    slots = np.array([row.session.slot for row in rows])
    actions = slab.world.spec.action_space.array([row.action for row in rows])
    extras = {i: row.extra for i, row in enumerate(rows) if row.extra is not None}
    pictured = [i for i, extra in extras.items() if "frame" in extra.include]
    taken = take(slab, slots, actions, extras, pictured)
    output = taken.staged.output() if extras else None
    columns = zip(
        rows,
        taken.number.tolist(),
        taken.latent,
        taken.staged.reward.tolist(),
        taken.terminated.tolist(),
        taken.truncated.tolist(),
        taken.is_finite.tolist(),
        strict=True,
    )
    results: list[StepResult | DreamNotFiniteError] = []
    for i, (row, number, *described, is_finite) in enumerate(columns):
        if not is_finite:
            results.append(not_finite(number))
            continue
        result = StepResult(row.session.id, number, *described)
        if row.extra is not None and output is not None:
            add_extra(result, row.session, row.extra, i, taken, output)
        results.append(result)
    return results


def take(
    slab: Slab,
    slots: Int64,
    actions: Actions,
    extras: Mapping[int, StepExtras],
    pictured: Sequence[int],
) -> SteppedBatch:
    """Advance the dreams of `slots` (B,), all different, by `actions` (B,) or (B, A).

    Some of the rows have extras; of the rows `pictured` the frames are decoded.
    """
    world = slab.world
    number, staged = slab.stage(slots, actions)
    terminated = staged.done_logit > world.spec.done.threshold
    truncated = slab.truncated(slots, number)
    if not (extras or pictured):
        slab.commit(slots, number, actions, staged, staged.finite, terminated)
        return SteppedBatch(number, staged.latent, terminated, truncated, staged.finite, staged, {})
    latent = _corrected(world, extras, staged.latent)
    # The real environment decides whether it goes on: the world's prediction of an end is ignored.
    terminated[[i for i, extra in extras.items() if extra.observed]] = False
    is_finite = staged.finite & finite_rows(latent)
    frames = _pictures(world, pictured, latent, is_finite)
    slab.commit(slots, number, actions, staged, is_finite, terminated, latent)
    return SteppedBatch(number, latent, terminated, truncated, is_finite, staged, frames)


def taken_differently(number: int) -> StepConflictError:
    """Say that the step was another one."""
    return StepConflictError(f"step {number} was already taken with other content")


def out_of_order(following: int, asked: int) -> StepConflictError:
    """Say which step comes next."""
    return StepConflictError(f"the next step is {following}, not {asked}")


def has_ended(number: int) -> DreamEndedError:
    """Say that there is no next step."""
    return DreamEndedError(f"the dream ended at step {number}; POST /reset starts over")


def not_finite(number: int) -> DreamNotFiniteError:
    """Say that the step was not taken."""
    return DreamNotFiniteError(
        f"step {number} gave NaN or infinity and was not taken; the session is unchanged"
    )


def was_asked(
    session: Session, action: Any, extra: StepExtras | None, *, restarted: bool = False
) -> bool:
    """Tell whether the last step was asked with the same content, and so `restarted` the dream."""
    if not session.took(action) or session.was_restarted != restarted:
        return False
    content = NO_EXTRAS if extra is None else extra.content
    last = session.last_answer
    return (NO_EXTRAS if last is None else last.content) == content


def extras_of(world: World, observation: Any, include: frozenset[str] = _NOTHING) -> StepExtras:
    """Return what a step has beyond its action.

    Raises InvalidRequestError and NotFiniteInputError for what this world cannot observe.
    """
    if observation is None:
        return StepExtras(include, None, None, (include,))
    array = np.asarray(observation)
    if array.dtype == np.uint8:
        frame = check_frames(world.spec.frame, array[None])[0]
        digest = blake2b(frame.tobytes(), digest_size=16).digest()
        return StepExtras(include, frame, None, (include, "frame", digest))
    latent = check_latent(world, array, "observation")
    return StepExtras(include, None, latent, (include, "latent", content_of_latent(latent)))


def _corrected(world: World, extras: Mapping[int, StepExtras], latent: Array) -> Array:
    """Return the latents with what was really observed in place of what was dreamt."""
    latent = latent.copy()
    seen = {i: extra.frame for i, extra in extras.items() if extra.frame is not None}
    if seen:
        frames = np.stack(list(seen.values()))
        latent[list(seen)] = world.backend.encode(to_numbers(world.spec.frame, frames))[0]
    for i, extra in extras.items():
        if extra.latent is not None:
            latent[i] = extra.latent
    return latent


def _pictures(
    world: World, pictured: Sequence[int], latent: Array, is_finite: Bools
) -> dict[int, UInt8]:
    """Return the frames of the rows `pictured`; a row without a finite one fails."""
    wanted = [i for i in pictured if is_finite[i]]
    if not wanted:
        return {}
    frames = world.backend.decode(latent[wanted])
    is_finite[wanted] = finite_rows(frames)
    return {
        i: to_pixels(world.spec.frame, frame)
        for i, frame in zip(wanted, frames, strict=True)
        if is_finite[i]
    }


def add_extra(
    result: StepResult,
    session: Session,
    extra: StepExtras,
    i: int,
    taken: SteppedBatch,
    output: StepOutput,
) -> None:
    """Add what was asked for beyond the step, and keep the result."""
    spec, latent = session.world.spec, taken.latent[i].copy()  # kept: not the whole batch's
    result.latent = latent
    if extra.observed:
        result.info = {
            "surprise": surprise(output, i, latent),
            "expected_surprise": surprise(output, i, taken.staged.latent[i]),
            "predicted_terminated": bool(taken.staged.done_logit[i] > spec.done.threshold),
        }
    result.frame = taken.frames.get(i)
    if "mixture" in extra.include:
        result.mixture = describe(output, i)
    if "state" in extra.include:
        result.state = spec.named_state(np.array(part[i]) for part in output.state)
    session.keep_answer(LastAnswer(result, extra.content))
