"""The DREAMSERVE_* variables that are meant for this server, and what is wrong with the others.

For a Service named `dreamserve` or `dreamserve-blue`, Kubernetes puts variables with our prefix
into every pod of the namespace; `DREAMSERVE_PORT=tcp://10.96.0.12:8000` even has the name of a
setting. Docker does so in a container with a link of that name, and adds its name and all variables
of the other container. They are recognised by name and value together, so a setting or a typing
error is not taken for one.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from ipaddress import ip_address

OF_THE_SDK = frozenset({"API_KEY"})  # its variables may be set on the server's machine, too

# name after the prefix and the Service's own name, and value; as the kubelet and Docker make them
_URL = r"(?:tcp|udp|sctp)://(.+):\d+"
_NUMBER = r"\d+"
_SERVICE_LINKS = (
    (r"SERVICE_HOST", r"(.+)"),
    (r"SERVICE_PORT(?:_\w+)?", _NUMBER),
    (r"PORT", _URL),
    (r"PORT_\d+_(?:TCP|UDP|SCTP)", _URL),
    (r"PORT_\d+_(?:TCP|UDP|SCTP)_PROTO", r"tcp|udp|sctp"),
    (r"PORT_\d+_(?:TCP|UDP|SCTP)_PORT", _NUMBER),
    (r"PORT_\d+_(?:TCP|UDP|SCTP)_ADDR", r"(.+)"),
    (r"NAME", r"/\S+/\S+"),
    (r"ENV_\w+", r"(?s:.*)"),
)


def meant_for_us(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return the variables with this prefix, names in capitals.

    Those that Kubernetes made are left out, and those of the SDK.
    """
    return {
        name.upper(): value
        for name, value in environment.items()
        if name.upper().startswith(prefix)
        and name.upper().removeprefix(prefix) not in OF_THE_SDK
        and not _is_service_link(name.upper().removeprefix(prefix), value)
    }


def _is_service_link(name: str, value: str) -> bool:
    for names, values in _SERVICE_LINKS:
        found = re.fullmatch(values, value)
        if found and re.fullmatch(rf"(?:\w+_)?{names}", name):
            return all(_is_address(host) for host in found.groups())
    return False


def _is_address(host: str) -> bool:
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def unknown(given: Collection[str], known: Collection[str], prefix: str) -> Iterator[str]:
    """Yield a message for each variable that no setting has, with the name that it could mean."""
    names = {name.removeprefix(prefix): name for name in known}
    for name in sorted(set(given) - set(known)):
        close = get_close_matches(name.removeprefix(prefix), names, n=1)
        hint = f"did you mean {names[close[0]]}?" if close else f"known: {', '.join(sorted(known))}"
        yield f"unknown variable {name}; {hint}"
