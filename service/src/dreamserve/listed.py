"""Settings that list things, separated by commas: checked, as a wrong one would match nothing."""

import re
from ipaddress import IPv4Network, ip_network

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+")
_HOST = re.compile(r"[^/?#@\s]+")
_MAPPED_BITS = 96  # before the IPv4 address in one of IPv6


def items(text: str) -> list[str]:
    """Return what a text lists."""
    return [item for item in map(str.strip, text.split(",")) if item]


def origins(text: str) -> str:
    """Return origins as browsers write them, in lower case. Raises ValueError."""
    for item in items(text):
        if item not in ("*", "null") and not _ORIGIN.fullmatch(item.lower()):
            raise ValueError(
                f"{item} is no origin, which is a scheme, a host and perhaps a port, without a"
                " path: https://example.com"
            )
    return ",".join(items(text)).lower()


def hosts(text: str) -> str:
    """Return names of hosts. Raises ValueError."""
    for item in items(text):
        if not _HOST.fullmatch(item):
            raise ValueError(f"{item} is no name of a host, such as example.com")
    return text


def proxies(text: str) -> str:
    """Return addresses and networks. Raises ValueError, whose text says what is wrong with one."""
    if "*" in items(text):
        return "*"
    for item in items(text):
        ip_network(item)
    return text


def in_both_families(text: str) -> list[str]:
    """Return proxies, those of IPv4 also as IPv6 writes them: a socket of `::` sees them so."""
    if text == "*":
        return [text]
    listed = []
    for network in map(ip_network, items(text)):
        listed.append(str(network))
        if isinstance(network, IPv4Network):
            listed.append(f"::ffff:{network.network_address}/{_MAPPED_BITS + network.prefixlen}")
        elif network.prefixlen >= _MAPPED_BITS and network.network_address.ipv4_mapped:
            address = network.network_address.ipv4_mapped
            listed.append(f"{address}/{network.prefixlen - _MAPPED_BITS}")
    return listed
