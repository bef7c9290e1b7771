"""GET /worlds and /worlds/{name}: the loaded worlds; POST and DELETE /admin/worlds change them."""

from dataclasses import dataclass
from typing import Annotated, Any

from dreamserve_protocol.common import World, WorldName
from dreamserve_protocol.markers import Doc, Message, Request, Text


@dataclass(frozen=True, slots=True, eq=False)
class WorldsRequest(Request["WorldsResult"]):
    """List the loaded worlds; the first is the default."""


@dataclass(frozen=True, slots=True, eq=False)
class WorldRequest(Request["WorldResult"]):
    """Describe a world: its manifest, measured quality and action names."""

    name: Annotated[WorldName, Doc("Name of a loaded world.")]


@dataclass(frozen=True, slots=True, eq=False)
class LoadWorldRequest(Request["WorldResult"]):
    """Load a world; needs an administrator's key. New sessions of its name begin on it.

    A loaded world of the same name keeps the sessions it has, and is freed with the last of them.
    """

    folder: Annotated[
        str,
        Text(128, r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$"),
        Doc("Name of the bundle's folder in the server's `DREAMSERVE_WORLDS_FOLDER`."),
    ]


@dataclass(frozen=True, slots=True, eq=False)
class UnloadWorldRequest(Request[None]):
    """Begin no more sessions of a world; needs an administrator's key.

    It is freed with the last session that it has.
    """

    name: Annotated[WorldName, Doc("Name of a loaded world.")]


@dataclass(frozen=True, slots=True)
class WorldSummary(Message):
    """Summary of a world."""

    name: World
    version: Annotated[str | None, Doc("Hash of the bundle's content; null without a bundle.")]
    backend: Annotated[str, Doc("Backend that computes the world's steps.")]
    action_space: Annotated[
        dict[str, Any],
        Doc(
            "`type` (as in Gymnasium), `names`, and `n`, `low` and `high`, or `nvec` with the names"
            " of its `choices`, which may be null."
        ),
    ]
    action_names: Annotated[
        list[str], Doc("Names of a Discrete world's actions, of others' components.")
    ]
    latent_size: Annotated[int, Doc("Z, the size of a latent.")]
    frame_shape: Annotated[
        list[int] | None,
        Doc("Height, width and channels of a decoded frame; null in a world that shows none."),
    ]
    quality: Annotated[dict[str, Any], Doc("Quality as measured at export.")]


@dataclass(frozen=True, slots=True)
class WorldResult(WorldSummary):
    """Summary and manifest of a world."""

    manifest: Annotated[dict[str, Any], Doc("The bundle's manifest.")]


@dataclass(frozen=True, slots=True)
class WorldsResult(Message):
    """The loaded worlds; the first is the default."""

    worlds: Annotated[list[WorldSummary], Doc("One entry for each world.")]
