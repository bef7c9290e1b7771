"""POST and DELETE /admin/worlds: loads worlds, and retires them, while the engine runs.

Both take too long for a turn of the engine, so they run in a thread of their own, one at a time.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from dreamserve.engine.handlers.worlds import described
from dreamserve.engine.served import ServedWorlds
from dreamserve.engine.world import World
from dreamserve.loading import load_world
from dreamserve.settings import Settings
from dreamserve_protocol.errors import (
    DrainingError,
    DreamserveError,
    InvalidRequestError,
    OverloadedError,
    ProblemError,
)
from dreamserve_protocol.worlds import LoadWorldRequest, UnloadWorldRequest, WorldResult

log = logging.getLogger("dreamserve")


class WorldChanges:
    """Changes the worlds of an engine; `changed` is called after each change."""

    def __init__(
        self, served: ServedWorlds, settings: Settings, changed: Callable[[], None]
    ) -> None:
        self._served, self._settings, self._changed = served, settings, changed
        self._lock = threading.Lock()

    def load(self, request: LoadWorldRequest) -> WorldResult:
        """Load and warm up a world. Raises InvalidRequestError, OverloadedError, DrainingError."""
        settings = self._settings
        if not settings.worlds_folder:
            raise InvalidRequestError(
                "this server loads no worlds on request: DREAMSERVE_WORLDS_FOLDER is not set"
            )
        path = Path(settings.worlds_folder) / request.folder
        with _alone(self._lock):
            if self._served.draining:
                raise DrainingError("the server is shutting down")
            try:
                world = self._added(path)
            except ProblemError:
                raise
            except DreamserveError as error:
                raise InvalidRequestError(str(error)) from error
            except MemoryError as error:
                raise InvalidRequestError(
                    f"not enough memory for this world and its {settings.capacity} sessions"
                    f" ({error}); a server with a smaller --capacity needs less"
                ) from error
            self._changed()
        log.info("loaded %s from %s", world.title, path)
        return described(world)

    def _added(self, path: Path) -> World:
        """Load the bundle at `path`; return the world that serves it."""
        settings = self._settings
        loaded = load_world(
            path, settings.backend, settings.threads, settings.precision, settings.trust
        )
        return self._served.add(loaded)

    def unload(self, request: UnloadWorldRequest) -> None:
        """Retire a world. Raises WorldNotFoundError, InvalidRequestError, OverloadedError."""
        with _alone(self._lock):
            self._served.remove(request.name)
            self._changed()
        log.info("retired %s", request.name)


class _alone:
    """Hold a lock that must be free."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise OverloadedError("another change of the worlds is in progress; try again later")

    def __exit__(self, *_: object) -> None:
        self._lock.release()
