"""GET /worlds and /worlds/{name}: what is loaded."""

from dataclasses import dataclass
from typing import Annotated, Any

from dreamserve_protocol.common import World, WorldName
from dreamserve_protocol.markers import Doc, Message, Request


@dataclass(frozen=True, slots=True, eq=False)
class WorldsRequest(Request["WorldsResult"]):
    """List the worlds that are loaded; the first is the default."""


@dataclass(frozen=True, slots=True, eq=False)
class WorldRequest(Request["WorldResult"]):
    """Tell all there is to know of a world: its manifest, how good it is, its actions' names."""

    name: Annotated[WorldName, Doc("Name of a loaded world.")]


@dataclass(frozen=True, slots=True)
class WorldSummary(Message):
    """What is worth knowing of a world before dreaming in it."""

    name: World
    version: Annotated[str | None, Doc("Hash of the bundle's content; null in memory.")]
    backend: Annotated[str, Doc("What computes the world's steps.")]
    action_space: Annotated[
        dict[str, Any], Doc("`type`, then `n` or `low` and `high`, in Gymnasium's terms; `names`.")
    ]
    action_names: Annotated[list[str], Doc("Names of the actions, or of a Box's components.")]
    latent_size: Annotated[int, Doc("Z, numbers in a latent.")]
    frame_shape: Annotated[list[int], Doc("H, W, C of the decoded frame.")]
    quality: Annotated[dict[str, Any], Doc("How good it is, as measured at export.")]


@dataclass(frozen=True, slots=True)
class WorldResult(WorldSummary):
    """All there is to know of a world."""

    manifest: Annotated[dict[str, Any], Doc("The bundle's manifest.")]


@dataclass(frozen=True, slots=True)
class WorldsResult(Message):
    """The worlds that are loaded; the first is the default."""

    worlds: Annotated[list[WorldSummary], Doc("One entry for each world.")]
