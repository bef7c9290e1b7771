"""The bytes that all sessions together keep beyond their slots, counted while they are referenced.

Forks, rewind windows and snapshots share what is kept, so it is counted where it is made, and no
longer counted when the last reference to it is gone.
"""

from math import inf


class KeptBytes:
    """A bound on bytes; each part that is kept holds a Share of it."""

    def __init__(self, most: float = inf) -> None:
        self.most, self.used = most, 0

    def take(self, size_bytes: int) -> "Share | None":
        """Return a share of that size, to be referenced by what is kept; None if it is too much."""
        if self.used + size_bytes > self.most:
            return None
        return Share(self, size_bytes)


class Share:
    """A part of the bytes; it is given back when nothing refers to it any more."""

    __slots__ = ("_kept", "_size_bytes")

    def __init__(self, kept: KeptBytes, size_bytes: int) -> None:
        self._kept, self._size_bytes = kept, size_bytes
        kept.used += size_bytes

    def __del__(self) -> None:
        self._kept.used -= self._size_bytes
