"""Calls as HTTP requests. The two transports add the I/O, which is one line each."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from time import monotonic
from typing import Any

import httpx

from dreamserve_client.calls import Call, Fields
from dreamserve_client.codec import UNREADABLE, Codec, codec_for
from dreamserve_client.environment import Proxy, proxy_of, server_url, tls_of
from dreamserve_client.errors import (
    APIConnectionError,
    APITimeoutError,
    ClosedError,
    ProtocolError,
)
from dreamserve_client.problems import problem_in
from dreamserve_client.timeouts import CONNECT_S
from dreamserve_client.tracing import trace_headers
from dreamserve_client.transports.belonging import OneLoop, OneProcess
from dreamserve_client.transports.deadlines import SIGNALS, UNTIL
from dreamserve_client.transports.pool import AsyncPool, Pool
from dreamserve_client.transports.routing import routing_headers
from dreamserve_protocol.errors import DreamserveError, InvalidRequestError
from dreamserve_protocol.interrupts import signals_wait

USER_AGENT = f"dreamserve-client/{version('dreamserve-client')}"
_NOT_SENT = (httpx.ConnectTimeout, httpx.PoolTimeout)
# A wait that ends by its own bound, just before the deadline of all, tells what was waited for.
_GRACE_S = 0.1


class _Messages:
    """Calls to HTTP requests of one server, and its responses to fields or errors."""

    def __init__(self, base_url: str, codec: Codec, api_key: str | None) -> None:
        self.url = server_url(base_url)
        self._headers = {"accept": codec.media_type, "user-agent": USER_AGENT}
        self._api_key = api_key
        self.proxy: Proxy | None = None  # only of a client that the environment configures
        self._base, self._codec = str(self.url).rstrip("/"), codec

    def options(self) -> dict[str, Any]:
        """Return the options of a connection to this server, from the environment.

        Raises ConfigurationError.
        """
        self.proxy, tls = proxy_of(self.url), tls_of(self.url)
        options: dict[str, Any] = {
            "trust_env": False,
            "verify": tls or httpx.create_ssl_context(verify=False),
        }
        if self.proxy is not None:
            try:
                proxy = httpx.Proxy(self.proxy.url)
                # SOCKS needs another package
                httpx.HTTPTransport(proxy=proxy, verify=False, trust_env=False).close()
            except (ValueError, ImportError, httpx.InvalidURL) as error:
                raise self.proxy.refused(error) from error
            options["proxy"] = proxy
        return options

    def request(
        self, http: httpx.Client | httpx.AsyncClient, call: Call[Any], timeout_s: float
    ) -> httpx.Request:
        """Return the HTTP request of a call; sent again, it is the same bytes."""
        if http.is_closed:
            raise ClosedError("the client is closed")
        headers = {**self._headers, **trace_headers()}
        headers["x-request-timeout"] = f"{timeout_s:.6g}"  # the server then drops what is late
        if self._api_key is not None and "authorization" not in http.headers:
            headers["authorization"] = f"Bearer {self._api_key}"
        headers |= routing_headers(call.routed_by)
        content = None
        if (body := call.body) is not None:
            headers["content-type"] = self._codec.media_type
            content = self._codec.encode(body)
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S))
        method, url = call.verb.method, self._base + call.path
        try:
            return http.build_request(
                method,
                url,
                content=content,
                headers=headers,
                timeout=timeout,
                extensions={UNTIL: monotonic() + timeout_s},
            )
        except httpx.InvalidURL as error:  # an id or a name of many thousand characters
            raise InvalidRequestError(f"{call.verb.name} cannot be sent: {error}") from None

    def fields(self, response: httpx.Response, content: bytes) -> Fields:
        """Return the fields that a response holds. Raises ProblemError and ProtocolError."""
        status = response.status_code
        if response.is_error:
            origin = f"{response.url} answered {status} {response.reason_phrase}"
            raise problem_in(origin, status, response.headers, content)
        origin = f"{response.request.method} {response.url} answered HTTP {status}"
        if not response.is_success:
            raise ProtocolError(f"{origin}, no result; is base_url a dreamserve server?")
        if not content:
            return {}
        try:
            return codec_for(response.headers.get("content-type", "")).decode(content)
        except UNREADABLE as error:
            raise ProtocolError.of(origin, error) from error

    def error(self, error: httpx.RequestError | TimeoutError, timeout_s: float) -> DreamserveError:
        """Return the SDK's error for one of httpx, or for a deadline that has passed."""
        server = self._base if self.proxy is None else f"{self._base} by {self.proxy.variable}"
        if isinstance(error, httpx.TimeoutException | TimeoutError):
            sent = not isinstance(error, _NOT_SENT)
            connecting = isinstance(error, httpx.ConnectTimeout)
            waited_s = min(timeout_s, CONNECT_S) if connecting else timeout_s
            return APITimeoutError.after(waited_s, server, sent=sent)
        return APIConnectionError(f"no response from {server}: {error or type(error).__name__}")


def _until(until_s: float, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the chunks of a response. Raises TimeoutError after the deadline.

    A client that was passed in has connections of its own, which do not know the deadline.
    """
    for chunk in chunks:
        yield chunk
        if monotonic() > until_s:
            raise TimeoutError


class Http:
    """Sends calls by an httpx.Client; one that was passed in stays open, and knows no forks."""

    def __init__(
        self,
        base_url: str,
        codec: Codec,
        client: httpx.Client | None = None,
        api_key: str | None = None,
    ) -> None:
        self._messages = _Messages(base_url, codec, api_key)
        self._owned, self._process = client is None, OneProcess()
        self._http = client or httpx.Client(
            transport=Pool(**self._messages.options()), trust_env=False
        )

    def send(self, call: Call[Any], timeout_s: float) -> Fields:
        """Send one call, as `Transport.send` says."""
        if not self._owned:
            self._process.check()
        request = self._messages.request(self._http, call, timeout_s)
        if not self._owned:  # its waits, which signals must be able to end, are out of reach
            return self._send(request, timeout_s)
        with signals_wait() as signals:
            request.extensions[SIGNALS] = signals
            return self._send(request, timeout_s)

    def _send(self, request: httpx.Request, timeout_s: float) -> Fields:
        try:
            with closing(self._http.send(request, stream=True)) as response:
                chunks = _until(request.extensions[UNTIL], response.iter_bytes())
                return self._messages.fields(response, b"".join(chunks))
        except (httpx.RequestError, TimeoutError) as error:
            raise self._messages.error(error, timeout_s) from error

    def close(self) -> None:
        """Close the connections."""
        if self._owned:
            self._http.close()


class AsyncHttp:
    """The same by an httpx.AsyncClient."""

    def __init__(
        self,
        base_url: str,
        codec: Codec,
        client: httpx.AsyncClient | None = None,
        api_key: str | None = None,
    ) -> None:
        self._messages = _Messages(base_url, codec, api_key)
        self._owned, self._loop = client is None, OneLoop()
        self._http = client or httpx.AsyncClient(
            transport=AsyncPool(**self._messages.options()), trust_env=False
        )

    async def send(self, call: Call[Any], timeout_s: float) -> Fields:
        """Send one call, as `Transport.send` says."""
        self._loop.check()
        request = self._messages.request(self._http, call, timeout_s)
        try:
            async with asyncio.timeout(timeout_s + _GRACE_S):
                response = await self._http.send(request)
            return self._messages.fields(response, response.content)
        except (httpx.RequestError, TimeoutError) as error:
            raise self._messages.error(error, timeout_s) from error

    async def close(self) -> None:
        """Close the connections. Raises ClosedError in another event loop."""
        if self._owned:
            self._loop.check()
            await self._http.aclose()
