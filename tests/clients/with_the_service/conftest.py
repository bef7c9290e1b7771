"""The real application with fake worlds, and clients of it, with and without a socket."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import dreamserve_client as sdk
from dreamserve.api.app import create_app
from dreamserve.engine.configured import engine_of
from dreamserve.engine.fake import fake_world
from dreamserve.settings import Settings

PATIENCE_S = 30.0
URL = "http://dreams.test"


class InLoop(httpx.BaseTransport):
    """Connects a synchronous client to an application in `runner`'s event loop."""

    def __init__(self, runner: asyncio.Runner, transport: httpx.ASGITransport) -> None:
        self.runner, self.transport = runner, transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self.runner.run(self._handle(request))

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        response = await self.transport.handle_async_request(request)
        return httpx.Response(
            response.status_code, headers=response.headers, content=await response.aread()
        )


class Losing(InLoop):
    """Loses the response to every other request."""

    sent = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        self.sent += 1
        if self.sent % 2:
            raise httpx.ReadError("the response was lost")
        return response


class Service:
    """The application and its clients."""

    def __init__(self, runner: asyncio.Runner) -> None:
        worlds = [
            fake_world(),
            fake_world("box", discrete=False),
            fake_world("broken", nan_action=2),
        ]
        settings = Settings.load(allowed_hosts="dreams.test")
        engine = engine_of(worlds, settings)
        self.app = create_app(engine, settings)
        self.transport = httpx.ASGITransport(self.app)
        self.runner = runner
        self.client = sdk.DreamClient(
            URL, max_retries=0, http_client=httpx.Client(transport=InLoop(runner, self.transport))
        )

    def forgetful_client(self) -> sdk.DreamClient:
        """Return a client that loses the first response to each of its requests."""
        transport = Losing(self.runner, self.transport)
        return sdk.DreamClient(URL, http_client=httpx.Client(transport=transport))

    def async_client(self) -> sdk.AsyncDreamClient:
        http = httpx.AsyncClient(transport=self.transport)
        return sdk.AsyncDreamClient(URL, max_retries=0, http_client=http)


@pytest.fixture
def service() -> Iterator[Service]:
    with asyncio.Runner() as runner:
        service = Service(runner)
        lifespan = service.app.router.lifespan_context(service.app)
        runner.run(_enter(service, lifespan))
        yield service
        runner.run(lifespan.__aexit__(None, None, None))


async def _enter(service, lifespan) -> None:
    await lifespan.__aenter__()
    async with asyncio.timeout(20), httpx.AsyncClient(transport=service.transport) as http:
        while (await http.get(f"{URL}/readyz")).status_code != 200:
            await asyncio.sleep(0)


@pytest.fixture(scope="module")
def url(listening: Any) -> Iterator[str]:
    """The URL of a service on a real socket."""
    with listening(fake_world()) as served:
        yield served.url
