"""A loaded world: its spec, its graphs on a backend, and its bank of starting points."""

from collections.abc import Iterable
from typing import Self

import numpy as np

from dreamserve.backends.base import Backend, Int64
from dreamserve.bundle import Arrays, bank_shapes, check_arrays, check_draws
from dreamserve.errors import BundleError
from dreamserve.manifest import Manifest, WorldSpec

LAST_OF_BEGINNING = 16  # age, in steps, of the oldest bank entries that are beginnings


class World:
    """A world as the engine uses it, created by `loading.load_world` or in memory from its parts.

    `bank` holds the head's posterior, of a mixture mu (N, Z) and logvar (N, Z), and `state.NAME`
    (N, *shape). None means one entry of zeros, which is the VAE's prior N(0, I). `ages` (N,) are
    the steps since the entries' episodes began; without them all entries are beginnings. Raises
    BundleError for a bank that does not fit the spec.
    """

    def __init__(
        self,
        spec: WorldSpec,
        backend: Backend,
        bank: Arrays | None = None,
        controller: Arrays | None = None,
        manifest: Manifest | None = None,
        ages: Int64 | None = None,
    ) -> None:
        self.spec, self.backend = spec, backend
        self.bank = prior(spec) if bank is None else bank
        self.controller, self.manifest = controller, manifest
        names = tuple(spec.head.posterior(spec.latent_size))
        self.bank_size = len(self.bank.get(names[0], ()))
        where = f"{spec.name}: bank"
        check_arrays(self.bank, bank_shapes(spec, self.bank_size), where)
        check_draws(spec, self.bank, where)
        everything = np.arange(self.bank_size)
        beginnings = everything if ages is None else _beginnings(ages)
        self.ages, self._entries = ages, {"any": everything, "beginning": beginnings}
        self.prepared = spec.head.prepared(tuple(self.bank[name] for name in names))

    def __deepcopy__(self, memo: object) -> Self:
        """Return the world itself: it does not change, and not every backend can be copied."""
        return self

    def entries(self, age: int | str = "beginning") -> Int64:
        """Return the bank entries (N,) of an age, as `age` of a start describes it."""
        if isinstance(age, str):
            return self._entries[age]
        if self.ages is None:
            return self._entries["any"]
        distance = np.abs(self.ages - age)
        return np.flatnonzero(distance == distance.min())

    @property
    def name(self) -> str:
        """The world's name."""
        return self.spec.name

    @property
    def title(self) -> str:
        """Its name and version, which tell it from other worlds, earlier ones included."""
        return self.name if self.version is None else f"{self.name} {self.version}"

    @property
    def version(self) -> str | None:
        """The version of its bundle; None for a world in memory."""
        return None if self.manifest is None else self.manifest.version

    def warm(self) -> None:
        """Encode and decode once, because first calls are slow."""
        zeros = {
            name: np.zeros((1, *shape), np.float32)
            for name, shape in self.spec.graph_inputs()["encode"].items()
        }
        observation, *state = zeros.values()
        self.backend.encode(observation, tuple(state))
        if self.spec.has_decode:
            self.backend.decode(np.zeros((1, self.spec.latent_size), np.float32))


def _beginnings(ages: Int64) -> Int64:
    young = np.flatnonzero(ages <= LAST_OF_BEGINNING)
    return young if len(young) else np.flatnonzero(ages == ages.min())


def prior(spec: WorldSpec) -> Arrays:
    """Return a bank of one entry of zeros: of a mixture, the VAE's prior N(0, I)."""
    shapes = bank_shapes(spec, 1).items()
    return {name: np.zeros(shape, np.float32) for name, shape in shapes}


def worlds_by_name(worlds: Iterable[World]) -> dict[str, World]:
    """Return the worlds by name, in order. Raises BundleError for no world, or duplicate names."""
    by_name: dict[str, World] = {}
    for world in worlds:
        if world.name in by_name:
            raise BundleError(f"two worlds are named {world.name!r}; names must differ")
        by_name[world.name] = world
    if not by_name:
        raise BundleError("no world to host: give at least one bundle")
    return by_name
