"""Rate limits: a token bucket for each API key's owner, or for each client address.

The bucket is kept as one number, the time at which it will be full again (the generic cell rate
algorithm, ITU-T I.371), so that it needs no timer to fill it.
"""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

MAX_ADDRESSES = 10_000
_LONGEST = 45  # characters of an address
_IPV6_HOST_BITS = 64  # one customer has at least a /64 of addresses


class TokenBucket:
    """At most `burst` requests at once, and `rate` a second in the long run."""

    __slots__ = ("_full_at_s", "_interval_s", "_most_s")

    def __init__(self, rate: float, burst: int) -> None:
        self._full_at_s = 0.0
        self.set(rate, burst)

    def set(self, rate: float, burst: int) -> None:
        """Change the limits; the tokens taken so far stay taken."""
        self._interval_s, self._most_s = 1 / rate, burst / rate

    def take(self, now_s: float) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        full_at_s = max(self._full_at_s, now_s) + self._interval_s
        wait_s = full_at_s - now_s - self._most_s
        if wait_s > 1e-9:  # rounding must not refuse a request that comes exactly in time
            return wait_s
        self._full_at_s = full_at_s
        return 0.0

    def is_full(self, now_s: float) -> bool:
        """Return whether it has all tokens, as a new one."""
        return self._full_at_s <= now_s


class Addresses:
    """The buckets of client addresses; of an IPv6 address that of its /64 network.

    Full buckets are forgotten when there are MAX_ADDRESSES, then those that were used the longest
    time ago.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def bucket(self, address: str, now_s: float) -> TokenBucket:
        """Return the bucket of an address."""
        name = network_of(address)
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= MAX_ADDRESSES:
                self._make_room(now_s)
            bucket = self._buckets[name] = TokenBucket(self._rate, self._burst)
        else:
            self._buckets.move_to_end(name)
        return bucket

    def _make_room(self, now_s: float) -> None:
        for name in [name for name, one in self._buckets.items() if one.is_full(now_s)]:
            del self._buckets[name]
        if len(self._buckets) >= MAX_ADDRESSES:
            self._buckets.popitem(last=False)


def network_of(address: str) -> str:
    """Return an address, or the /64 network of an IPv6 address, as text.

    A proxy may pass on whatever a client sent: what is no address is cut, as it is remembered.
    """
    if ":" not in address:
        return address[:_LONGEST]
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:_LONGEST]
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(int(parsed) >> _IPV6_HOST_BITS)
