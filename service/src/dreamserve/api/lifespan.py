"""What runs with the application from its start to its stop: the engine, and a look at the keys."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from dreamserve.api.service import Service
from dreamserve_protocol.errors import DrainingError

RELOAD_S = 1.0  # interval of the checks whether the file of API keys has changed
STOP_DEADLINE_S = 5.0  # for requests in progress, once no new ones are accepted

log = logging.getLogger("dreamserve")


@asynccontextmanager
async def lifespan(service: Service, _: FastAPI) -> AsyncIterator[None]:
    """Start and warm up the engine of `service`; stop it at the end."""
    # In a thread, so /livez responds while the graphs are warming up.
    starting = asyncio.create_task(_start(service))
    watching = asyncio.create_task(_watch_keys(service))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.to_thread(service.engine.stop, STOP_DEADLINE_S)
        await starting
        service.close()


async def _start(service: Service) -> None:
    try:
        await asyncio.to_thread(service.engine.start)
    except DrainingError:
        return  # stopped before it was ready
    except Exception as error:
        log.exception("the engine could not start")
        service.failure = error


async def _watch_keys(service: Service) -> None:
    """Use the API keys of a changed file."""
    while (keys := service.access.keys) is not None:
        await asyncio.sleep(RELOAD_S)
        # The small file is read in the event loop: requests see the old keys or the new ones.
        if await asyncio.to_thread(keys.has_changed) and keys.reload():
            service.set_quotas()
