"""What a world shows of a latent: its decoded frame or vector, where it has a decoder."""

from collections.abc import Collection
from typing import TypeVar

from dreamserve.backends.base import Array
from dreamserve.backends.finite import finite_rows
from dreamserve.engine.pixels import Shown, to_pixels
from dreamserve.engine.world import World
from dreamserve_protocol.errors import DreamNotFiniteError, InvalidRequestError

Name = TypeVar("Name", bound=str)
DECODED = ("frame", "frames", "vector", "vectors")


def shown(world: World, latent: Array, include: Collection[str]) -> dict[str, Shown]:
    """Return what is decoded of latent (1, Z), by its field, if it is included.

    Raises InvalidRequestError for what the world does not show, DreamNotFiniteError.
    """
    if not check_shown(world, include):
        return {}
    spec = world.spec.observation
    decoded = world.backend.decode(latent)
    if not finite_rows(decoded)[0]:
        raise DreamNotFiniteError(f"the {spec.field} is NaN or infinity")
    return {spec.field: to_pixels(spec, decoded)[0]}


def check_shown(world: World, include: Collection[str]) -> bool:
    """Return whether decoded frames or vectors are included.

    Raises InvalidRequestError if the world does not show what is included.
    """
    asked = [name for name in DECODED if name in include]
    if not asked:
        return False
    spec = world.spec
    if not spec.has_decode:
        raise InvalidRequestError(
            f"include: {world.name} has no decoder, so it shows no {asked[0]}, only latents"
        )
    if wrong := [name for name in asked if name.removesuffix("s") != spec.observation.field]:
        raise InvalidRequestError(
            f"include: {world.name} shows {spec.observation.field}s, so it has no {wrong[0]}"
        )
    return True


def shown_of(world: World, include: Collection[Name]) -> list[Name]:
    """Return what is included without what the world does not show, where `check_shown` raises."""
    field = world.spec.observation.field
    own = (field, f"{field}s") if world.spec.has_decode else ()
    return [name for name in include if name in own or name not in DECODED]
