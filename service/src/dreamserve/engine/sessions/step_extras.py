"""What a step's request asks for beyond its action: an observation, and things to include."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from dreamserve.backends.base import Array, Bools, PendingStep, State
from dreamserve.backends.finite import finite_rows
from dreamserve.engine.checks import check_latent, check_observation
from dreamserve.engine.pixels import Shown, to_input, to_numbers, to_pixels
from dreamserve.engine.sessions.slab import NOTHING, Content, content_of_latent
from dreamserve.engine.shown import check_shown
from dreamserve.engine.world import World
from dreamserve_protocol.common import LARGEST_LATENT
from dreamserve_protocol.errors import NotFiniteInputError


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
class Described:
    """What the world had expected of a step, as far as its request asks for it."""

    info: dict[str, Any]
    mixture: dict[str, Array] | None  # parameters of the head, without the batch's axis
    state: dict[str, Array] | None

    @property
    def is_finite(self) -> bool:
        """Whether every number is."""
        parts = () if self.mixture is None else tuple(self.mixture.values())
        return all(map(math.isfinite, self.info.values())) and all(
            np.isfinite(part).all() for part in parts
        )


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


def corrected(world: World, extras: Mapping[int, StepExtras], staged: PendingStep) -> Array:
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


def decode_rows(
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


def describe(
    world: World,
    extras: Mapping[int, StepExtras],
    staged: PendingStep,
    latent: Array,
    is_finite: Bools,
) -> dict[int, Described]:
    """Describe the rows with extras; clears `is_finite` of rows where a number is not finite.

    A mixture of finite parameters may still be too narrow, or too wide, for a density.
    """
    if not extras:
        return {}
    spec, output, described = world.spec, staged.output(), {}
    for i, extra in extras.items():
        if not is_finite[i]:
            continue
        predicted = tuple(part[i : i + 1] for part in output.head)
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
        state = None
        if "state" in extra.include:
            state = spec.named_state(np.array(part[i]) for part in output.state)
        described[i] = Described(info, mixture, state)
        is_finite[i] = described[i].is_finite
    return described
