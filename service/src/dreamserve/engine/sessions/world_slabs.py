"""The slabs of the worlds that are here: those that take new sessions, and retired ones.

A retired world is freed with its last session. Sessions count that are in the store alone because
they made room here, until they have expired: no other server need have that version.
"""

from collections.abc import Callable
from itertools import count
from math import inf
from typing import Generic, Protocol, TypeVar

from dreamserve.engine.world import World


class OfWorld(Protocol):
    """What tells whether a slab is in use (`slab.Slab`)."""

    number: int
    world: World

    @property
    def count(self) -> int:
        """The number of its sessions."""
        ...


S = TypeVar("S", bound=OfWorld)


class WorldSlabs(Generic[S]):
    """Slabs by number and by world. The thread of the current turn uses it.

    Any thread may copy `numbered`.
    """

    def __init__(self, make: Callable[[int, World], S]) -> None:
        self._make, self._numbers = make, count()
        self.numbered: dict[int, S] = {}  # by rising number, which none has had before
        self.by_world: dict[World, S] = {}
        self.retired = set[World]()
        # Until when the store may have sessions that only this server can continue, by the title of
        # their world; None: of any.
        self._stored_until_s: dict[str | None, float] = {}

    def add(self, world: World) -> S:
        """Make room for the sessions of another world. Raises MemoryError, and then does nothing.

        Backends raise errors of their own when a device has no memory left.
        """
        slab = self._make(next(self._numbers), world)
        self.numbered[slab.number] = self.by_world[world] = slab
        return slab

    def of(self, world: World) -> S:
        """Return the slab of a world's sessions.

        A request that named a retired world in time may begin sessions of it when it had none.
        """
        slab = self.by_world.get(world)
        if slab is not None:
            return slab
        if (same := self.same(world)) is not None:
            return self.by_world[same]
        self.retired.add(world)
        return self.add(world)

    def same(self, world: World) -> World | None:
        """Return the world that is here in the same version: itself, or loaded another time."""
        if world in self.by_world:
            return world
        if world.version is None:
            return None
        return next((one for one in self.by_world if one.title == world.title), None)

    def retire(self, world: World, now_s: float) -> None:
        """Free the memory of a world that takes no new sessions once it has none."""
        self.retired.add(world)
        self.free_retired(now_s)

    def left_in_store(self, title: str | None, until_s: float) -> None:
        """Note that the store has a session of a world, which expires then; None: of any."""
        known_s = self._stored_until_s.get(title, -inf)
        self._stored_until_s[title] = max(until_s, known_s)

    def free_retired(self, now_s: float) -> None:
        """Free the retired worlds without sessions."""
        stored = {title: at for title, at in self._stored_until_s.items() if at >= now_s}
        self._stored_until_s = stored
        if None in stored:
            return
        for world in list(self.retired):
            if not self.by_world[world].count and world.title not in stored:
                self.retired.discard(world)
                del self.numbered[self.by_world.pop(world).number]
