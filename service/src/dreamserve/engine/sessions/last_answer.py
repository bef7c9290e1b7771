"""The last step of a session in its snapshot, if it had more than an action.

The result of such a step is stored, in case the step is sent again. The document holds only what
does not follow from the rest of the snapshot.
"""

from typing import Any

import numpy as np

from dreamserve.backends.base import Array
from dreamserve.engine.checks import check_latent, check_state, check_tensor
from dreamserve.engine.sessions.slab import Content, LastAnswer, content_of_latent
from dreamserve.engine.world import World
from dreamserve.manifest import WorldSpec
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.sessions import Final, LastStep
from dreamserve_protocol.step import StepResult

DIGEST_BYTES = 16  # of an observed frame or vector
_SEEN = ("frame", "vector")
_PREDICTED = {"end_probability": float}
_OBSERVED = {"surprise": float, "expected_surprise": float, "predicted_terminated": bool}


def last_step_of(last: LastAnswer) -> LastStep:
    """Return the stored result as it stands in a snapshot; absent values are omitted."""
    content: tuple[Any, ...] = last.content
    include, *observed = content
    return LastStep(
        include=sorted(include),
        info=dict(last.result.info),
        observed=observed[0] if observed else None,
        frame_digest=observed[1].hex() if observed and observed[0] in _SEEN else None,
        frame=last.result.frame,
        mixture=last.result.mixture,
        final=_final_of(last.result) if last.restarted else None,
        vector=last.result.vector,
    )


def _final_of(result: StepResult) -> Final:
    return Final(result.latent, result.state or {}, result.terminated, result.truncated)


def read_last_step(world: World, last_step: LastStep, result: StepResult) -> LastAnswer:
    """Return the stored result; `result` is the part that follows from the rest of the snapshot.

    Raises InvalidRequestError or NotFiniteInputError if no step of this world has such a result.
    """
    include, spec = frozenset(last_step.include), world.spec
    final = last_step.final
    if not include and last_step.observed is None and final is None:
        raise InvalidRequestError(
            "last_step must be absent for a step without observation, include and restart"
        )
    if final is not None:
        _check_final(world, final)
        result.latent, result.state = np.asarray(final.latent), final.state
        result.terminated, result.truncated = final.terminated, final.truncated
    expected = _OBSERVED | _PREDICTED if last_step.observed is not None else {}
    expected |= _PREDICTED if "mixture" in include else {}
    if last_step.info.keys() != expected.keys():
        raise InvalidRequestError(f"last_step: info must hold {list(expected)}")
    result.info = {name: kind(last_step.info[name]) for name, kind in expected.items()}
    for field in _SEEN:
        shown = _shown(spec, field, getattr(last_step, field), field in include)
        setattr(result, field, shown)
    if "signals" not in include:
        result.signals = None
    result.mixture = _mixture(spec, last_step.mixture, "mixture" in include)
    if "state" not in include and final is None:
        result.state = None
    content = _content(include, last_step, result.latent)
    return LastAnswer(result, content, restarted=final is not None)


def _check_final(world: World, final: Final) -> None:
    """Check the end of a dream. Raises InvalidRequestError, NotFiniteInputError."""
    check_latent(world, final.latent, "last_step.final.latent")
    check_state(world, final.state, "last_step.final.state")
    if not (final.terminated or final.truncated):
        raise InvalidRequestError("last_step.final must be terminated or truncated")


def _content(include: frozenset[str], last_step: LastStep, latent: Array) -> Content:
    """Return the step's content, by which `steps.admit` recognises a repeated step."""
    if (last_step.observed in _SEEN) != (last_step.frame_digest is not None):
        raise InvalidRequestError(
            "last_step: frame_digest must be present if and only if a frame or vector was observed"
        )
    if last_step.observed is None:
        return (include,)
    if last_step.observed == "latent":
        return (include, "latent", content_of_latent(latent))  # its latent is the observed one
    try:
        digest = bytes.fromhex(last_step.frame_digest or "")
    except ValueError:
        digest = b""
    if len(digest) != DIGEST_BYTES:
        raise InvalidRequestError(f"last_step: frame_digest must be {2 * DIGEST_BYTES} hex digits")
    return (include, last_step.observed, digest)


def _shown(spec: WorldSpec, field: str, given: Any, included: bool) -> Any:
    if (given is not None) != included:
        raise InvalidRequestError(
            f"last_step: {field} must be present if and only if it was included"
        )
    if given is None:
        return None
    seen, array = spec.observation, np.asarray(given)
    if seen.field != field:
        raise InvalidRequestError(f"last_step: this world shows no {field}")
    if field == "vector":
        return check_tensor("last_step.vector", array, seen.shape)
    if array.dtype != np.uint8 or array.shape != seen.shape:
        raise InvalidRequestError(
            f"last_step: frame must be {list(seen.shape)} of 0 to 255 (uint8),"
            f" not {array.dtype} {list(array.shape)}"
        )
    return array


def _mixture(spec: WorldSpec, mixture: Any, included: bool) -> dict[str, Array] | None:
    if (mixture is not None) != included:
        raise InvalidRequestError(
            "last_step: mixture must be present if and only if it was included"
        )
    if mixture is None:
        return None
    shapes = spec.mixture_shapes()
    if mixture.keys() != shapes.keys():
        raise InvalidRequestError(f"last_step: mixture must hold {list(shapes)}")
    return {
        name: check_tensor(f"last_step.mixture.{name}", mixture[name], shape)
        for name, shape in shapes.items()
    }
