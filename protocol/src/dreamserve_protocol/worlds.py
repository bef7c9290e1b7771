"""GET /worlds and /worlds/{name}: the loaded worlds."""

from dataclasses import dataclass
from typing import Annotated, Any

from dreamserve_protocol.common import World, WorldName
from dreamserve_protocol.markers import Doc, Message, Request


@dataclass(frozen=True, slots=True, eq=False)
class WorldsRequest(Request["WorldsResult"]):
    """List the loaded worlds; the first is the default."""


@dataclass(frozen=True, slots=True, eq=False)
class WorldRequest(Request["WorldResult"]):
    """Describe a world: its manifest, measured quality and action names."""

    name: Annotated[WorldName, Doc("Name of a loaded world.")]


@dataclass(frozen=True, slots=True)
class WorldSummary(Message):
    """Summary of a world."""

    name: World
    version: Annotated[str | None, Doc("Hash of the bundle's content; null without a bundle.")]
    backend: Annotated[str, Doc("Backend that computes the world's steps.")]
    action_space: Annotated[
        dict[str, Any],
        Doc("`type` (as in Gymnasium), `names`, and `n` or `low` and `high`."),
    ]
    action_names: Annotated[list[str], Doc("Names of the actions, or of a Box's components.")]
    latent_size: Annotated[int, Doc("Z, the size of a latent.")]
    frame_shape: Annotated[list[int], Doc("Height, width and channels of a decoded frame.")]
    quality: Annotated[dict[str, Any], Doc("Quality as measured at export.")]


@dataclass(frozen=True, slots=True)
class WorldResult(WorldSummary):
    """Summary and manifest of a world."""

    manifest: Annotated[dict[str, Any], Doc("The bundle's manifest.")]


@dataclass(frozen=True, slots=True)
class WorldsResult(Message):
    """The loaded worlds; the first is the default."""

    worlds: Annotated[list[WorldSummary], Doc("One entry for each world.")]
