"""Room that is kept for sessions while they are taken over from a store, so that each finds it."""

from collections import Counter

from dreamserve.engine.sessions.keys import SessionKey, owner_of


class Reservations:
    """The sessions that have room reserved, and the bytes of their rewind windows."""

    def __init__(self) -> None:
        self._kept_bytes: dict[SessionKey, int] = {}
        self.counts = Counter[str]()  # of sessions by owner
        self.kept_bytes = 0  # of all of them

    def __len__(self) -> int:
        return len(self._kept_bytes)

    def add(self, key: SessionKey, kept_bytes: int) -> None:
        """Reserve room for a session."""
        self.drop(key)
        self._kept_bytes[key] = kept_bytes
        self.counts[owner_of(key)] += 1
        self.kept_bytes += kept_bytes

    def drop(self, key: SessionKey) -> None:
        """Give back the room of a session, if it has any."""
        kept_bytes = self._kept_bytes.pop(key, None)
        if kept_bytes is None:
            return
        owner = owner_of(key)
        self.counts[owner] -= 1
        if not self.counts[owner]:
            del self.counts[owner]
        self.kept_bytes -= kept_bytes
