"""GET /worlds and /worlds/{name}: the loaded worlds."""

from dreamserve.engine.handlers.base import Context
from dreamserve.engine.world import World
from dreamserve_protocol.wire import fields_of
from dreamserve_protocol.worlds import (
    WorldRequest,
    WorldResult,
    WorldsRequest,
    WorldsResult,
    WorldSummary,
)


def worlds(context: Context, request: WorldsRequest) -> WorldsResult:
    """List the worlds, the default one first."""
    return WorldsResult([_summary(world) for world in context.worlds.values()])


def world(context: Context, request: WorldRequest) -> WorldResult:
    """Describe a world, with its manifest. Raises WorldNotFoundError."""
    return described(context.world(request.name))


def described(world: World) -> WorldResult:
    """Return a world's summary and manifest."""
    manifest = (world.manifest or world.spec).model_dump(mode="json")
    return WorldResult(**fields_of(_summary(world)), manifest=manifest)


def _summary(world: World) -> WorldSummary:
    spec, seen = world.spec, world.spec.observation
    return WorldSummary(
        name=spec.name,
        version=world.version,
        backend=world.backend.name,
        action_space=spec.action_space.model_dump(mode="json"),
        action_names=list(spec.action_space.names),
        latent_size=spec.latent_size,
        frame_shape=list(seen.shape) if seen.kind == "frame" and spec.has_decode else None,
        quality=world.manifest.quality if world.manifest else {},
    )
