"""Lists sessions a page at a time, and ends idle ones, of one owner or of all.

Pages follow the places of the table, so a session that lives while the pages are read is on exactly
one of them.
"""

from typing import NamedTuple

from dreamserve.engine.dynamics import Work
from dreamserve.engine.sessions.keys import SessionKey, id_of, owner_of
from dreamserve.engine.sessions.slab import Slab
from dreamserve.engine.sessions.table import SLOT_BITS, SessionTable

DELETED_AT_ONCE = 1000  # sessions, in a few milliseconds


class Listed(NamedTuple):
    """A session of a page."""

    key: SessionKey
    slab: Slab
    slot: int
    age_s: float
    idle_s: float

    @property
    def session_id(self) -> str:
        """Its owner's id for it."""
        return id_of(self.key)

    @property
    def owner(self) -> str:
        """Its owner."""
        return owner_of(self.key)


class Page(NamedTuple):
    """Some sessions, and the place at which the next page begins, if there is one."""

    sessions: list[Listed]
    next: int | None


def page_of(
    table: SessionTable, idle_s: float, after: int, limit: int, owner: str | None = None
) -> Page:
    """Return at most `limit` sessions that were not used for `idle_s`, from the place `after` on.

    `owner`: whose sessions; None: everybody's.
    """
    places = _places(table, table.now_s - idle_s, after, limit + 1, owner)
    following = places[limit] if len(places) > limit else None
    return Page([_listed(table, place) for place in places[:limit]], following)


def delete_idle(table: SessionTable, idle_s: float, owner: str | None = None) -> Work[int]:
    """End the sessions that were not used for `idle_s` by now; return their number."""
    moment_s, deleted = table.now_s - idle_s, 0
    while places := _places(table, moment_s, 0, DELETED_AT_ONCE, owner):
        for place in places:
            slab, slot = table.at(place)
            table.remove(slab.holder(slot))
        deleted += len(places)
        if len(places) < DELETED_AT_ONCE:
            break
        yield None
    return deleted


def _places(
    table: SessionTable, moment_s: float, after: int, limit: int, owner: str | None
) -> list[int]:
    """Return the first places from `after` on of sessions that were not used after `moment_s`."""
    number = None if owner is None else table.numbers.get(owner, -1)
    places: list[int] = []
    for slab in table.numbered.values():  # by rising number
        slots = slab.idle_since(moment_s, number) | slab.number << SLOT_BITS
        places += slots[slots >= after][: limit - len(places)].tolist()
    return places


def _listed(table: SessionTable, place: int) -> Listed:
    slab, slot = table.at(place)
    age_s = table.now_s - float(slab.created_at_s[slot])
    idle_s = table.now_s - float(slab.used_at_s[slot])
    return Listed(slab.holder(slot), slab, slot, age_s, idle_s)
