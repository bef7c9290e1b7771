"""Action spaces as text and as Gymnasium's, to and from the spaces of a world."""

import re
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from pydantic import TypeAdapter, ValidationError

from dreamserve.spaces import ActionSpace, Space
from dreamserve_training.data.episodes import DataError

MAX_ACTIONS = 4096  # of a Discrete space, or parts of an action
_FORMS = "Discrete(n), MultiDiscrete(n, …), MultiBinary(n) or Box(low:high, …)"
_SPACE: TypeAdapter[Any] = TypeAdapter(ActionSpace)


def make_space(kind: str, names: Sequence[str] | None = None, **fields: Any) -> Space:
    """Return the space `kind` with `fields`; default names: "action 0", …. DataError."""
    width = fields["n"] if "n" in fields else len(fields.get("nvec", fields.get("low", ())))
    if width > MAX_ACTIONS:
        raise DataError(f"{kind} of {width} actions, or parts of one; at most {MAX_ACTIONS}")
    named = tuple(names) if names else tuple(f"action {index}" for index in range(width))
    try:
        space: Space = _SPACE.validate_python({"type": kind, "names": named, **fields})
    except ValidationError as error:
        reasons = "; ".join(part["msg"] for part in error.errors())
        raise DataError(f"{kind} actions cannot be described: {reasons}") from error
    return space


def renamed(space: Space, names: Sequence[str]) -> Any:
    """Return `space` with other names; DataError for another number of them."""
    fields = space.model_dump(exclude={"type", "names"})
    return make_space(space.model_dump()["type"], names, **fields)


def parse_space(text: str, names: Sequence[str] | None = None) -> Space:
    """Return the space that `text` describes, such as "Discrete(3)" or "Box(-1:1, 0:1*2)"."""
    match = re.fullmatch(r"(\w+)\((.*)\)", text.strip())
    kind, parts = match.groups() if match else ("", "")
    values = [part.strip() for part in parts.split(",")]
    try:
        if kind in ("Discrete", "MultiBinary"):
            (count,) = map(int, values)
            return make_space(kind, names, n=count)
        if kind == "MultiDiscrete":
            return make_space(kind, names, nvec=tuple(map(int, values)))
        if kind == "Box":
            bounds = [bound for value in values for bound in _bounds(value)]
            low, high = zip(*bounds, strict=True)
            return make_space(kind, names, low=low, high=high)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"action space {text!r} is not {_FORMS}") from error
    raise DataError(f"action space {text!r} is not {_FORMS}")


def _bounds(text: str) -> list[tuple[float, float]]:
    """Return the bounds of components: of one from "-1:1", of three from "-1:1*3"."""
    pair, _, count = text.partition("*")
    low, high = map(float, pair.split(":"))
    return [(low, high)] * min(int(count or 1), MAX_ACTIONS + 1)


def from_gymnasium(space: gymnasium.Space[Any], where: object) -> tuple[Space | None, Any]:
    """Return (the space, the number that its choices count from).

    The space is None for a Box with infinite bounds. DataError for a space without counterpart.
    """
    spaces = gymnasium.spaces
    if isinstance(space, spaces.Discrete):
        return make_space("Discrete", n=int(space.n)), int(space.start)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return make_space("MultiDiscrete", nvec=tuple(space.nvec.tolist())), space.start
    if isinstance(space, spaces.MultiBinary) and len(space.shape) == 1:
        return make_space("MultiBinary", n=space.shape[0]), 0
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        if not np.issubdtype(space.dtype, np.floating):
            raise DataError(
                f"{where}: actions are {space.dtype} in a Box, from {space.low} to {space.high};"
                " whole numbers are choices: give --actions 'MultiDiscrete(…)', counted from 0"
            )
        if not space.is_bounded():
            return None, 0
        return make_space("Box", low=tuple(space.low), high=tuple(space.high)), 0
    raise DataError(
        f"{where}: actions of {space} are not supported; Discrete and, with one axis, Box,"
        " MultiDiscrete and MultiBinary are"
    )


def to_gymnasium(space: Space) -> gymnasium.Space[Any]:
    """Return an action space of a world as Gymnasium's."""
    fields = space.model_dump()
    kind = fields["type"]
    if kind == "Box":
        low, high = np.float32(fields["low"]), np.float32(fields["high"])
        return gymnasium.spaces.Box(low, high, dtype=np.float32)
    size = fields["nvec"] if kind == "MultiDiscrete" else fields["n"]
    made: gymnasium.Space[Any] = getattr(gymnasium.spaces, kind)(size)
    return made


def infer_space(low: Any, high: Any) -> Space:
    """Return the smallest space of actions whose components have these extremes, (A,) or ().

    Integers count from 0. A component of a Box that never changes gets a range of 2.
    """
    if np.asarray(low).dtype.kind == "f":
        still = low == high
        bounds = np.where(still, low - 1, low).tolist(), np.where(still, high + 1, high).tolist()
        return make_space("Box", low=tuple(bounds[0]), high=tuple(bounds[1]))
    if np.ndim(high) == 0:
        return make_space("Discrete", n=int(high) + 1)
    return make_space("MultiDiscrete", nvec=tuple(int(last) + 1 for last in high))
