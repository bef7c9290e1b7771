"""The transport that the options of a client ask for."""

from typing import Any, Literal

import httpx

from dreamserve_client.codec import codec_of
from dreamserve_client.environment import api_key_of
from dreamserve_client.errors import ConfigurationError
from dreamserve_client.transports.base import AsyncTransport, Transport
from dreamserve_client.transports.http import AsyncHttp, Http
from dreamserve_protocol.ids import new_route

TransportName = Literal["http", "stream"]


def route_of_client(chosen: object, route: str | None) -> str | None:
    """Return the route of a client's sessions: those of one socket live on one replica."""
    return new_route() if route is None and chosen == "stream" else route


def transport_of(
    base_url: str | None,
    chosen: TransportName | Transport,
    encoding: str,
    http_client: httpx.Client | None,
    route: str | None,
    api_key: str | None = None,
) -> Transport:
    """Return the transport of a DreamClient. Raises ConfigurationError."""
    if not isinstance(chosen, str):
        _refuse_both(base_url, http_client, api_key)
        return chosen
    key = api_key_of(api_key)
    url, codec = _checked(base_url, chosen, http_client), codec_of(encoding)
    if chosen == "http":
        return Http(url, codec, http_client, key)
    stream: Transport = _streams().Stream(url, codec, route, key)
    return stream


def async_transport_of(
    base_url: str | None,
    chosen: TransportName | AsyncTransport,
    encoding: str,
    http_client: httpx.AsyncClient | None,
    route: str | None,
    api_key: str | None = None,
) -> AsyncTransport:
    """Return the transport of an AsyncDreamClient. Raises ConfigurationError."""
    if not isinstance(chosen, str):
        _refuse_both(base_url, http_client, api_key)
        return chosen
    key = api_key_of(api_key)
    url, codec = _checked(base_url, chosen, http_client), codec_of(encoding)
    if chosen == "http":
        return AsyncHttp(url, codec, http_client, key)
    stream: AsyncTransport = _streams().AsyncStream(url, codec, route, key)
    return stream


def _checked(base_url: str | None, chosen: str, http_client: Any) -> str:
    if chosen not in ("http", "stream"):
        valid = "'http', 'stream' or an object such as InProcess(...)"
        raise ConfigurationError(f"transport must be {valid}, it is {chosen!r}")
    if base_url is None:
        raise ConfigurationError("give base_url, such as http://127.0.0.1:8000, or a transport")
    if chosen == "stream" and http_client is not None:
        raise ConfigurationError("an http_client goes with transport='http'")
    return base_url


def _refuse_both(base_url: str | None, http_client: Any, api_key: str | None) -> None:
    if base_url is not None or http_client is not None or api_key is not None:
        others = "base_url, http_client and api_key"
        raise ConfigurationError(f"a transport of your own takes none of {others}")


def _streams() -> Any:
    """Return the module of the stream, which needs a package that the SDK works without."""
    try:
        from dreamserve_client.transports import stream
    except ImportError as error:
        advice = "pip install 'dreamserve-client[stream]'"
        raise ConfigurationError(f"transport='stream' needs websockets: {advice}") from error
    return stream
