"""Validation of requests against a world. Errors say what would be valid."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dreamserve.backends.base import Array, State
from dreamserve.engine.limits import Limits
from dreamserve.engine.pixels import Shown, check_observations
from dreamserve.engine.world import World
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import InvalidRequestError, NotFiniteInputError


def check_tensor(name: str, given: Any, shape: tuple[int, ...]) -> Array:
    """Return a float32 array of that shape. Raises InvalidRequestError, NotFiniteInputError."""
    array = np.asarray(given)
    if array.dtype.kind not in "fiu" or array.shape != shape:
        raise InvalidRequestError(
            f"{name} must be numbers of shape {list(shape)}, not {array.dtype} {list(array.shape)}"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # invalid: a signalling NaN
        numbers = array.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise NotFiniteInputError(f"{name} holds NaN or infinity, or is beyond float32")
    return numbers


def check_latent(world: World, latent: Any, name: str = "the latent") -> Array:
    """Return a latent (Z,) float32. Raises as `check_tensor`."""
    return check_tensor(name, latent, (world.spec.latent_size,))


def check_observation(world: World, field: str, given: Any, name: str) -> Shown:
    """Return one observation, a `frame` or a `vector`, as a batch of one (1, …).

    Raises InvalidRequestError, also in a world that sees the other kind, and NotFiniteInputError.
    """
    spec = world.spec.observation
    if field != spec.field:
        raise InvalidRequestError(f"{name}: {world.name} sees {spec.field}s, not {field}s")
    return check_observations(spec, np.asarray(given)[None], name)


def check_state(world: World, state: Mapping[str, Any], name: str = "state") -> State:
    """Return the recurrent tensors in the world's order. Raises as `check_tensor`."""
    tensors = world.spec.recurrent_state
    names = [tensor.name for tensor in tensors]
    if sorted(state) != sorted(names):
        raise InvalidRequestError(f"{name} must hold {names}, not {sorted(state)}")
    return tuple(check_tensor(f"{name}.{t.name}", state[t.name], t.shape) for t in tensors)


def check_signals(world: World, signals: Mapping[str, float]) -> tuple[float, ...]:
    """Return the signals in the world's order. Raises as `check_tensor`."""
    names = [signal.name for signal in world.spec.signals]
    if sorted(signals) != sorted(names):
        raise InvalidRequestError(f"signals must hold {names}, not {sorted(signals)}")
    return tuple(float(check_tensor(f"signals.{name}", signals[name], ())) for name in names)


def check_start(world: World, start: Start | None, limits: Limits) -> Start | None:
    """Return the start as `dynamics.start` takes it: observations and actions checked.

    Raises InvalidRequestError, InvalidActionError, NotFiniteInputError and TooLargeError.
    """
    if start is None:
        return None
    if start.bank is not None and start.bank >= world.bank_size:
        last = world.bank_size - 1
        raise InvalidRequestError(f"the bank of {world.name} has entries 0 to {last}")
    if start.latent is not None:
        return Start(latent=check_latent(world, start.latent, "start.latent"))
    if start.observations is None:
        return start
    spec = world.spec.observation
    given, name = getattr(start, f"{spec.field}s"), f"start.{spec.field}s"
    if given is None:
        raise InvalidRequestError(f"{world.name} sees {spec.field}s: give {name}")
    limits.check_frames(len(given), name)
    seen = check_observations(spec, given, name)
    actions = world.spec.action_space.check(
        () if start.actions is None else start.actions, (len(seen) - 1,)
    )
    checked: dict[str, Any] = {f"{spec.field}s": seen, "actions": actions}
    return replace(start, **checked)
