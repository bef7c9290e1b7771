"""What the URL of a Redis store may hold: options that are understood here, and no others.

Redis' client takes any parameter of its connections as an option, also one that changes what it
returns, how long it waits or how often it sends a script; such a store would fail later.
"""

from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from dreamserve.errors import SettingsError
from dreamserve.settings import masked

_OPTIONS = ("client_name", "db", "health_check_interval", "password", "username", "waitaof")
_TCP_OPTIONS = ("socket_keepalive",)
_TLS_OPTIONS = (
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "ssl_password",
)
UNDERSTOOD: dict[str, tuple[str, ...]] = {
    "redis": (*_OPTIONS, *_TCP_OPTIONS),
    "rediss": (*_OPTIONS, *_TCP_OPTIONS, *_TLS_OPTIONS),
    "unix": _OPTIONS,
}


def check_url(url: str) -> None:
    """Check a URL. Raises SettingsError for an option that is not understood.

    Raises ValueError for what is no URL, as it may be with a password that is not percent-encoded:
    if there is one, the message must not be shown.
    """
    parts = urlsplit(url)
    understood = UNDERSTOOD[parts.scheme]
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    unknown = [(name, value) for name, value in pairs if name not in understood]
    if unknown:
        if any("@" in part for pair in unknown for part in pair):
            raise ValueError("a part of a password is taken for an option")
        raise SettingsError(
            f"cannot use the store {masked(url)}: its option {unknown[0][0]!r} is not understood;"
            f" use {', '.join(understood)}"
        )
    if parts.scheme != "unix" and not _is_database(parts):
        raise ValueError("its path must be the number of a database, such as /0")


def _is_database(parts: SplitResult) -> bool:
    number = parts.path.removeprefix("/")
    return not number or (number.isascii() and number.isdecimal())


def without_waitaof(url: str) -> tuple[str, tuple[int, int] | None]:
    """Return the URL without the option `waitaof`, and its two numbers.

    The other options stay as they are encoded. Raises SettingsError.
    """
    parts = urlsplit(url)
    options = parts.query.split("&")
    others = [option for option in options if option.partition("=")[0] != "waitaof"]
    if len(others) == len(options):
        return url, None
    value = dict(parse_qsl(parts.query)).get("waitaof", "")
    local, _, replicas = value.partition(",")
    if not (local.isdecimal() and replicas.isdecimal()):
        raise SettingsError(f"the store's waitaof is {value!r}; use LOCAL,REPLICAS such as 1,1")
    return urlunsplit(parts._replace(query="&".join(others))), (int(local), int(replicas))
