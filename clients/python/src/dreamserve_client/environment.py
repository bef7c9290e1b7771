"""The server's URL, and what the environment says of the way to it: proxies and certificates.

Everything that is wrong with them is a ConfigurationError that names the option or variable.
"""

import os
import re
import ssl
import urllib.request
from dataclasses import dataclass
from ipaddress import ip_address

import httpx

from dreamserve_client.errors import ConfigurationError

API_KEY = "DREAMSERVE_API_KEY"


@dataclass(frozen=True)
class Proxy:
    """A proxy, and where it was configured."""

    url: str
    variable: str

    def refused(self, error: Exception) -> ConfigurationError:
        """Return the error for a proxy that cannot be used."""
        advice = "correct or unset it, or list the server's host in NO_PROXY"
        return ConfigurationError(f"{self.variable} names no usable proxy ({error}); {advice}")


def server_url(base_url: str) -> httpx.URL:
    """Return the URL of a server, without a slash at its end. Raises ConfigurationError."""
    try:
        url = _checked(base_url, ("http", "https"))
        if url.query or url.fragment:
            raise ValueError("it must be like http://host:port or https://host/path")
    except ValueError as error:
        raise ConfigurationError(f"base_url is {base_url!r}: {error}") from None
    return url.copy_with(path=url.path.rstrip("/"))


def api_key_of(given: str | None) -> str | None:
    """Return the API key: the one given, or else that of the environment; None: there is none.

    Raises ConfigurationError for text that no key is.
    """
    named, key = ("api_key", given) if given is not None else (API_KEY, os.environ.get(API_KEY))
    if key and not re.fullmatch(r"[!-~]+", key):
        raise ConfigurationError(f"{named} must be printable ASCII without spaces")
    return key or None


def proxy_of(url: httpx.URL) -> Proxy | None:
    """Return the proxy to a server, if the environment names one; loopback hosts have none.

    Raises ConfigurationError for one that is no proxy.
    """
    if _is_loopback(url.host):
        return None
    proxies, host = urllib.request.getproxies(), url.netloc.decode("ascii")
    if any(urllib.request.proxy_bypass(name) for name in (host, url.host)):
        return None
    for scheme in (url.scheme, "all"):
        if found := proxies.get(scheme):
            proxy = Proxy(found if "://" in found else f"http://{found}", _variable(scheme))
            try:
                _checked(proxy.url, ("http", "https", "socks5", "socks5h"))
            except ValueError as error:
                raise proxy.refused(error) from None
            return proxy
    return None


def tls_of(url: httpx.URL) -> ssl.SSLContext | None:
    """Return how to verify a server's certificate; None: there is none. Raises ConfigurationError.

    SSL_CERT_FILE and SSL_CERT_DIR replace the usual authorities.
    """
    if url.scheme == "http":
        return None
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        known = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
        named = " or ".join(f"{name}={os.environ[name]}" for name in known) or "the certificates"
        raise ConfigurationError(f"{named} cannot be loaded: {error}") from error


def _checked(text: str, schemes: tuple[str, ...]) -> httpx.URL:
    """Return a URL of one of these schemes, with a host. Raises ValueError."""
    try:
        url = httpx.URL(text)
        host, port = url.raw_host.decode("ascii"), url.port
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(str(error)) from None
    if url.scheme not in schemes:
        raise ValueError(f"it must start with {'://, '.join(schemes)}://")
    if not re.fullmatch(r"[\w.:-]+", host) or not 0 < (port or 1) < 2**16:
        raise ValueError("it must be like http://host:port")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _variable(scheme: str) -> str:
    """Return the variable that names the proxy of a scheme; on some systems it is a setting."""
    name = f"{scheme}_proxy"
    set_there = (one for one in (name, name.upper()) if os.environ.get(one))
    return next(set_there, f"the system's {scheme} proxy")
