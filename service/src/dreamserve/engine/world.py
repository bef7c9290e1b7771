"""A world ready to be dreamt: its spec, its graphs on a device, and where its dreams begin."""

from collections.abc import Iterable

import numpy as np

from dreamserve.backends.base import Array, Backend
from dreamserve.bundle import Arrays, check_bank
from dreamserve.errors import BundleError
from dreamserve.manifest import Manifest, WorldSpec


class World:
    """What the engine needs of a world; made by `loading.load_world`, or in memory from its parts.

    `bank` holds mu (N, Z), logvar (N, Z) and `state.NAME` (N, *shape); None means the VAE's prior
    N(0, I) with an empty memory. Raises BundleError for a bank that does not fit the spec.
    """

    def __init__(
        self,
        spec: WorldSpec,
        backend: Backend,
        bank: Arrays | None = None,
        controller: Arrays | None = None,
        manifest: Manifest | None = None,
    ) -> None:
        self.spec, self.backend = spec, backend
        self.bank = prior(spec) if bank is None else bank
        self.controller, self.manifest = controller, manifest
        check_bank(spec, self.bank, len(self.bank.get("mu", ())), where=f"{spec.name}: bank")
        # Once here, so that a row's numbers cannot depend on which rows are drawn beside it.
        self.bank_sigma: Array = np.exp(np.float32(0.5) * self.bank["logvar"])

    @property
    def name(self) -> str:
        """The world's name."""
        return self.spec.name

    @property
    def version(self) -> str | None:
        """The version of its bundle, None for a world in memory."""
        return None if self.manifest is None else self.manifest.version

    @property
    def bank_size(self) -> int:
        """How many starting points the bank holds."""
        return len(self.bank["mu"])

    def warm(self) -> None:
        """Encode and decode once, so that no request pays for the first time."""
        self.backend.encode(np.zeros((1, *self.spec.frame.shape), np.float32))
        self.backend.decode(np.zeros((1, self.spec.latent_size), np.float32))


def prior(spec: WorldSpec) -> Arrays:
    """Return a bank of one entry: the VAE's prior N(0, I), with an empty memory."""
    bank = {
        "mu": np.zeros((1, spec.latent_size), np.float32),
        "logvar": np.zeros((1, spec.latent_size), np.float32),
    }
    for tensor in spec.recurrent_state:
        bank[f"state.{tensor.name}"] = np.zeros((1, *tensor.shape), np.float32)
    return bank


def worlds_by_name(worlds: Iterable[World]) -> dict[str, World]:
    """Return the worlds by name, in order. Raises BundleError for none, or two of one name."""
    by_name: dict[str, World] = {}
    for world in worlds:
        if world.name in by_name:
            raise BundleError(f"two worlds are named {world.name!r}; names must differ")
        by_name[world.name] = world
    if not by_name:
        raise BundleError("no world to host: give at least one bundle")
    return by_name
