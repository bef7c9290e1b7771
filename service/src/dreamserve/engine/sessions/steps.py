"""A batch of steps: admit each row, stage the batch, commit the finite rows.

Nothing is written before the batch has been computed, and then only the finite rows: a refused,
failed or non-finite row leaves its session unchanged and affects no other.

Most steps are plain: an action without observation or include. Their result is in the slab
afterwards, so nothing else is stored. Other steps have `StepExtras`, and their result is stored in
case they are sent again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from dreamserve.backends.base import Actions, Array, Bools, Int64, PendingStep, State, StepOutput
from dreamserve.backends.finite import finite_rows
from dreamserve.engine.checks import check_latent, check_observation
from dreamserve.engine.pixels import (
    Shown,
    to_input,
    to_numbers,
    to_pixels,
)
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.sessions.slab import (
    NO_EXTRAS,
    NOTHING,
    Content,
    LastAnswer,
    Slab,
    content_of_latent,
)
from dreamserve.engine.shown import check_shown
from dreamserve.engine.world import World
from dreamserve_protocol.common import LARGEST_LATENT
from dreamserve_protocol.errors import (
    A_RESET,
    DreamEndedError,
    DreamNotFiniteError,
    NotFiniteInputError,
    StepConflictError,
)
from dreamserve_protocol.step import StepRequest, StepResult


@dataclass(slots=True, eq=False)
class StepExtras:
    """The parts of a step's request beyond its action."""

    include: frozenset[str]
    seen: Shown | None  # the observed next frame, in the world's input shape, or vector
    latent: Array | None  # the observed next latent (Z,)
    content: Content  # compared with a repeated step's

    @property
    def observed(self) -> bool:
        """Whether the step has an observation."""
        return self.seen is not None or self.latent is not None


@dataclass(slots=True, eq=False)
class AdmittedStep:
    """A valid step, which has not been computed yet."""

    session: Session
    action: int | Actions  # an int, or (A,) float32
    extra: StepExtras | None


@dataclass(slots=True, eq=False)
class Described:
    """What the world had expected of a step, as far as its request asks for it."""

    info: dict[str, Any]
    mixture: dict[str, Array] | None  # parameters of the head, without the batch's axis

    @property
    def is_finite(self) -> bool:
        """Whether every number is."""
        parts = () if self.mixture is None else tuple(self.mixture.values())
        return all(map(math.isfinite, self.info.values())) and all(
            np.isfinite(part).all() for part in parts
        )


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
    output = stepped.staged.output() if extras else None
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
        if row.extra is not None and output is not None:
            add_extra(result, row.session, row.extra, i, stepped, output)
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
    latent = _corrected(world, extras, staged)
    # The real environment decides whether an episode ends: the world's prediction is ignored.
    terminated = terminated.copy()
    terminated[[i for i, extra in extras.items() if extra.observed]] = False
    is_finite = staged.finite & finite_rows(latent)
    shown = _decode(world, frame_rows, latent, is_finite)
    described = _describe(world, extras, staged, latent, is_finite)
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


def extras_of(
    world: World, observation: Any, vector: Any = None, include: frozenset[str] = NOTHING
) -> StepExtras:
    """Return the parts of a step's request beyond its action.

    Raises InvalidRequestError and NotFiniteInputError for an observation that is not valid.
    """
    check_shown(world, include)
    if vector is not None:
        return _seen(world, "vector", vector, include)
    if observation is None:
        return StepExtras(include, None, None, (include,))
    array = np.asarray(observation)
    if array.dtype == np.uint8:
        return _seen(world, "frame", array, include)
    latent = check_latent(world, array, "observation")
    if (np.abs(latent) > LARGEST_LATENT).any():
        bound = f"within ±{LARGEST_LATENT:g}"
        raise NotFiniteInputError(f"observation: a latent's numbers must be finite and {bound}")
    return StepExtras(include, None, latent, (include, "latent", content_of_latent(latent)))


def _seen(world: World, field: str, observation: Any, include: frozenset[str]) -> StepExtras:
    """Return the extras of an observed frame or vector. Raises as `extras_of`."""
    name = "observation" if field == "frame" else "vector"
    given = check_observation(world, field, observation, name)
    seen = to_input(world.spec.observation, given)[0]
    same = seen if field == "frame" else seen + np.float32(0)  # -0.0 equals 0.0
    digest = blake2b(same.tobytes(), digest_size=16).digest()
    return StepExtras(include, seen, None, (include, field, digest))


def _corrected(world: World, extras: Mapping[int, StepExtras], staged: PendingStep) -> Array:
    """Return the latents (B, Z) with the observed ones in place of the predicted ones.

    With `encode_memory` an observation is encoded with the memory after the step.
    """
    latent, spec = staged.latent.copy(), world.spec
    observed = {i: extra.seen for i, extra in extras.items() if extra.seen is not None}
    if observed:
        rows: list[int] = list(observed)
        state: State = ()
        if spec.encode_memory:
            state = tuple(part[rows] for part in staged.output().state)
        seen = to_numbers(spec.observation, np.stack(list(observed.values())))
        latent[rows] = spec.head.mode(world.backend.encode(seen, state))
    for i, extra in extras.items():
        if extra.latent is not None:
            latent[i] = extra.latent
    return latent


def _decode(
    world: World, frame_rows: Sequence[int], latent: Array, is_finite: Bools
) -> dict[int, Shown]:
    """Return what `frame_rows` show; clears `is_finite` of rows where that is not finite."""
    rows = [i for i in frame_rows if is_finite[i]]
    if not rows:
        return {}
    decoded = world.backend.decode(latent[rows])
    is_finite[rows] = finite_rows(decoded)
    return {
        i: to_pixels(world.spec.observation, one)
        for i, one in zip(rows, decoded, strict=True)
        if is_finite[i]
    }


def _describe(
    world: World,
    extras: Mapping[int, StepExtras],
    staged: PendingStep,
    latent: Array,
    is_finite: Bools,
) -> dict[int, Described]:
    """Describe the rows with extras; clears `is_finite` of rows where a number is not finite.

    A mixture of finite parameters may still be too narrow, or too wide, for a density.
    """
    spec, described = world.spec, {}
    for i, extra in extras.items():
        if not is_finite[i]:
            continue
        predicted = tuple(part[i : i + 1] for part in staged.output().head)
        info: dict[str, Any] = {}
        if extra.observed:
            info = {
                "surprise": spec.head.surprise(predicted, latent[i]),
                "expected_surprise": spec.head.surprise(predicted, staged.latent[i]),
                "predicted_terminated": bool(staged.terminated[i]),
            }
        if extra.observed or "mixture" in extra.include:
            logit = float(staged.done_logit[i]) - spec.done.threshold
            info["end_probability"] = 0.5 + 0.5 * math.tanh(0.5 * logit)  # its sigmoid
        mixture = None
        if "mixture" in extra.include:
            parameters = spec.head.parameters(predicted)
            mixture = {name: part[0] for name, part in parameters.items()}
        described[i] = Described(info, mixture)
        is_finite[i] = described[i].is_finite
    return described


def add_extra(
    result: StepResult,
    session: Session,
    extra: StepExtras,
    i: int,
    stepped: SteppedBatch,
    output: StepOutput,
) -> None:
    """Add the requested extras to row `i`'s result, and store the result."""
    spec, described = session.world.spec, stepped.described[i]
    result.latent = stepped.latent[i].copy()  # a view would keep the whole batch
    result.info, result.mixture = described.info, described.mixture
    if extra.observed:
        session.slab.measures.surprise.add(described.info["surprise"])
    if (field := spec.observation.field) in extra.include:
        setattr(result, field, stepped.shown.get(i))
    if "signals" in extra.include:
        result.signals = spec.named_signals(float(part[i]) for part in output.signals)
    if "state" in extra.include:
        result.state = spec.named_state(np.array(part[i]) for part in output.state)
    session.keep_answer(LastAnswer(result, extra.content))
