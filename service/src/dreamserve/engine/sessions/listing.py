"""Lists sessions a page at a time, and ends idle ones, of one owner or of all.

Pages follow the sessions' serial numbers, which they keep when a reset moves them to another world:
a session that lives while the pages are read is on exactly one of them.
"""

from typing import NamedTuple

import numpy as np

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
    """Some sessions, and the serial number at which the next page begins, if there is one."""

    sessions: list[Listed]
    next: int | None


def page_of(
    table: SessionTable, idle_s: float, after: int, limit: int, owner: str | None = None
) -> Page:
    """Return at most `limit` sessions that were not used for `idle_s`, of serials from `after` on.

    `owner`: whose sessions; None: everybody's.
    """
    moment_s, number = table.now_s - idle_s, _number_of(table, owner)
    serials, places = [], []
    for slab in table.numbered.values():
        slots = slab.idle_since(moment_s, number)
        slots = slots[slab.serial[slots] >= after]
        serials.append(slab.serial[slots])
        places.append(slots | slab.number << SLOT_BITS)
    serial, place = np.concatenate(serials), np.concatenate(places)
    if len(serial) > limit + 1:  # sorts a page instead of all sessions
        first = np.argpartition(serial, limit)[: limit + 1]
        serial, place = serial[first], place[first]
    order = np.argsort(serial)
    following = int(serial[order[limit]]) if len(order) > limit else None
    return Page([_listed(table, one) for one in place[order[:limit]].tolist()], following)


def delete_idle(table: SessionTable, idle_s: float, owner: str | None = None) -> Work[int]:
    """End the sessions that were not used for `idle_s` by now; return their number."""
    moment_s, deleted = table.now_s - idle_s, 0
    while places := _places(table, moment_s, DELETED_AT_ONCE, owner):
        for place in places:
            slab, slot = table.at(place)
            table.remove(slab.holder(slot))
        deleted += len(places)
        if len(places) < DELETED_AT_ONCE:
            break
        yield None
    return deleted


def _places(table: SessionTable, moment_s: float, limit: int, owner: str | None) -> list[int]:
    """Return some places of sessions that were not used after `moment_s`."""
    number = _number_of(table, owner)
    places: list[int] = []
    for slab in table.numbered.values():
        slots = slab.idle_since(moment_s, number)[: limit - len(places)]
        places += (slots | slab.number << SLOT_BITS).tolist()
    return places


def _number_of(table: SessionTable, owner: str | None) -> int | None:
    """Return the number of an owner's sessions in the slabs; -1 has none, None is everybody's."""
    return None if owner is None else table.numbers.get(owner, -1)


def _listed(table: SessionTable, place: int) -> Listed:
    slab, slot = table.at(place)
    age_s = table.now_s - float(slab.created_at_s[slot])
    idle_s = table.now_s - float(slab.used_at_s[slot])
    return Listed(slab.holder(slot), slab, slot, age_s, idle_s)
