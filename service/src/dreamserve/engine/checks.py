"""Does what is asked make sense for this world? Said with what would be right."""

from typing import Any

import numpy as np

from dreamserve.backends.base import Array
from dreamserve.engine.actions import check_actions
from dreamserve.engine.pixels import check_frames
from dreamserve.engine.types import BankStart, FramesStart, Include, LatentStart, Start
from dreamserve.engine.world import World
from dreamserve.errors import InvalidRequestError, NotFiniteInputError

LARGEST_SEED = 2**53 - 1  # what a JSON number holds exactly
MAX_TEMPERATURE = 1000.0


def check_seed(seed: int) -> int:
    """Return the seed. Raises InvalidRequestError."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise InvalidRequestError(f"a seed must be an integer, not {seed!r}")
    return int(check_range("seed", seed, 0, LARGEST_SEED))


def check_temperature(temperature: float) -> float:
    """Return the temperature. Raises InvalidRequestError, NotFiniteInputError."""
    return check_range("temperature", temperature, 0, MAX_TEMPERATURE)


def check_range(name: str, value: float, least: float, most: float = np.inf) -> float:
    """Return a number that is within bounds. Raises InvalidRequestError, NotFiniteInputError."""
    if np.isnan(value) or np.isinf(value):
        raise NotFiniteInputError(f"{name} must be a finite number, not {value}")
    if not least <= value <= most:
        bounds = f"at least {least}" if most == np.inf else f"within {least} and {most}"
        raise InvalidRequestError(f"{name} must be {bounds}, not {value}")
    return value


def check_include(include: Include, allowed: frozenset[str], what: str) -> None:
    """Raise InvalidRequestError for what cannot be included in such an answer."""
    if extra := include - allowed:
        raise InvalidRequestError(f"{what} can include {sorted(allowed)}, not {sorted(extra)}")


def check_latent(world: World, latent: Any) -> Array:
    """Return a latent (Z,) float32. Raises InvalidRequestError, NotFiniteInputError."""
    array = np.asarray(latent)
    if array.dtype.kind not in "fiu" or array.shape != (world.spec.latent_size,):
        raise InvalidRequestError(
            f"a latent must be {world.spec.latent_size} numbers,"
            f" not {array.dtype} of shape {list(array.shape)}"
        )
    return check_numbers("the latent", array, array.shape)


def check_numbers(name: str, given: Any, shape: tuple[int, ...]) -> Array:
    """Return float32 numbers of that shape. Raises InvalidRequestError, NotFiniteInputError."""
    array = np.asarray(given)
    if array.dtype.kind not in "fiu" or array.shape != shape:
        raise InvalidRequestError(
            f"{name} must be numbers of shape {list(shape)}, not {array.dtype} {list(array.shape)}"
        )
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise NotFiniteInputError(f"{name} holds NaN or infinity, or is beyond float32")
    return numbers


def check_start(world: World, given: Start | None) -> Start | None:
    """Return the start as `runner.start` takes it: numbers checked, frames cropped and resized."""
    match given:
        case BankStart(index):
            if not 0 <= index < world.bank_size:
                raise InvalidRequestError(
                    f"the bank of {world.name} has entries 0 to {world.bank_size - 1}, not {index}"
                )
            return given
        case LatentStart(latent):
            return LatentStart(check_latent(world, latent))
        case FramesStart(frames, actions):
            frames = check_frames(world.spec.frame, frames)
            between = (len(frames) - 1,)
            return FramesStart(frames, check_actions(world.spec.action_space, actions, between))
    return None
