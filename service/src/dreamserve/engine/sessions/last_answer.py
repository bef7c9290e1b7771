"""What a session's last step had beyond its action, in a snapshot.

A step that was observed, or whose answer included more, is answered from what was kept of it when
it is sent again. The document holds only what the rest of the snapshot does not say already.
"""

from typing import Any

import numpy as np

from dreamserve.backends.base import Array, State
from dreamserve.engine.checks import check_numbers
from dreamserve.engine.sessions.slab import Content, LastAnswer
from dreamserve.engine.types import Include, StepResult
from dreamserve.engine.world import World
from dreamserve.errors import InvalidRequestError
from dreamserve.manifest import WorldSpec

DIGEST_BYTES = 16  # of an observed frame
_INCLUDED = {"frame", "mixture", "state"}
_INFO = {"surprise": float, "expected_surprise": float, "predicted_terminated": bool}


def last_answer_of(kept: LastAnswer) -> dict[str, Any]:
    """Return what a snapshot says of it; what there is not, is not there."""
    answer = kept.answer
    content: tuple[Any, ...] = kept.content
    include, *observed = content
    said: dict[str, Any] = {"include": sorted(include), "info": dict(answer.info)}
    if observed:
        said["observed"], seen = observed
        if said["observed"] == "frame":
            said["frame_digest"] = seen.hex()
    if answer.frame is not None:
        said["frame"] = answer.frame
    if answer.mixture is not None:
        said["mixture"] = dict(answer.mixture)
    return said


def read_last_answer(
    world: World,
    said: dict[str, Any],
    step: int,
    latent: Array,
    state: State,
    reward: float,
    terminated: bool,
) -> LastAnswer:
    """Return the answer that was kept, of a session that stands at latent (Z,), state (*shape,).

    Raises InvalidRequestError and its kin for what no step of this world was answered.
    """
    spec = world.spec
    names, observed = set(said.get("include", ())), said.get("observed")
    if not names <= _INCLUDED or observed not in (None, "latent", "frame"):
        raise InvalidRequestError("last_answer: include and observed are not those of a step")
    if not names and observed is None:
        raise InvalidRequestError("last_answer: a step with nothing beyond its action has none")
    include: Include = frozenset(names)
    tensors = zip(spec.recurrent_state, state, strict=True)
    answer = StepResult(
        "",  # whose it is, is said when it is answered
        step,
        latent,
        reward,
        terminated,
        info=_info(said.get("info", {}), observed is not None),
        frame=_frame(spec, said.get("frame"), "frame" in names),
        mixture=_mixture(spec, said.get("mixture"), "mixture" in names),
        state={tensor.name: part for tensor, part in tensors} if "state" in names else None,
    )
    return LastAnswer(answer, _content(include, observed, said.get("frame_digest"), latent))


def _content(include: Include, observed: str | None, digest: Any, latent: Array) -> Content:
    """Return what the step was asked for, as `steps.admit` compares it."""
    if (observed == "frame") != (digest is not None):
        raise InvalidRequestError("last_answer: frame_digest goes with an observed frame")
    if observed is None:
        return (include,)
    if observed == "latent":
        return (include, "latent", latent.tobytes())  # the dream was corrected to it
    try:
        seen = bytes.fromhex(digest)
    except (TypeError, ValueError):
        seen = b""
    if len(seen) != DIGEST_BYTES:
        raise InvalidRequestError(
            f"last_answer: frame_digest must be {2 * DIGEST_BYTES} hex digits"
        )
    return (include, "frame", seen)


def _info(info: Any, observed: bool) -> dict[str, Any]:
    expected = _INFO if observed else {}
    if not isinstance(info, dict) or info.keys() != expected.keys():
        raise InvalidRequestError(f"last_answer: info must hold {list(expected)}")
    return {name: kind(info[name]) for name, kind in expected.items()}


def _frame(spec: WorldSpec, frame: Any, included: bool) -> Any:
    if (frame is not None) != included:
        raise InvalidRequestError("last_answer: a frame is there when it was included")
    if frame is None:
        return None
    array = np.asarray(frame)
    if array.dtype != np.uint8 or array.shape != spec.frame.shape:
        raise InvalidRequestError(
            f"last_answer: frame must be {list(spec.frame.shape)} of 0 to 255 (uint8),"
            f" not {array.dtype} {list(array.shape)}"
        )
    return array


def _mixture(spec: WorldSpec, mixture: Any, included: bool) -> dict[str, Array] | None:
    if (mixture is not None) != included:
        raise InvalidRequestError("last_answer: a mixture is there when it was included")
    if mixture is None:
        return None
    head, one = spec.mixture.head, (spec.mixture.components,)
    each = (*one, spec.latent_size)
    shapes = {
        "weights": each if head == "per_dimension" else one,
        "mu": each,
        "sigma": one if head == "isotropic" else each,
    }
    if not isinstance(mixture, dict) or mixture.keys() != shapes.keys():
        raise InvalidRequestError(f"last_answer: mixture must hold {list(shapes)}")
    return {
        name: check_numbers(f"last_answer.mixture.{name}", mixture[name], shape)
        for name, shape in shapes.items()
    }
