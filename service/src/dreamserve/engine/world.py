"""A loaded world: its spec, its graphs on a backend, and its bank of starting points."""

from collections.abc import Iterable

import numpy as np

from dreamserve.backends.base import Array, Backend
from dreamserve.bundle import Arrays, bank_shapes, check_arrays
from dreamserve.errors import BundleError
from dreamserve.heads import GaussianMixture
from dreamserve.manifest import Manifest, WorldSpec
from dreamserve.observations import VectorSpec


class World:
    """A world as the engine uses it, created by `loading.load_world` or in memory from its parts.

    `bank` holds mu (N, Z), logvar (N, Z) and `state.NAME` (N, *shape); None means the VAE's prior
    N(0, I) with a zero recurrent state. Raises BundleError for a bank that does not fit the spec.
    """

    def __init__(
        self,
        spec: WorldSpec,
        backend: Backend,
        bank: Arrays | None = None,
        controller: Arrays | None = None,
        manifest: Manifest | None = None,
    ) -> None:
        _check_served(spec)
        self.spec, self.backend = spec, backend
        self.bank = prior(spec) if bank is None else bank
        self.controller, self.manifest = controller, manifest
        shapes = bank_shapes(spec, len(self.bank.get("mu", ())))
        check_arrays(self.bank, shapes, where=f"{spec.name}: bank")
        # Computed once for all rows, so that a row's numbers do not depend on its batch.
        self.bank_sigma: Array = np.exp(np.float32(0.5) * self.bank["logvar"])

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

    @property
    def bank_size(self) -> int:
        """The number of starting points in the bank."""
        return len(self.bank["mu"])

    def warm(self) -> None:
        """Encode and decode once, because first calls are slow."""
        self.backend.encode(np.zeros((1, *self.spec.frame.shape), np.float32))
        self.backend.decode(np.zeros((1, self.spec.latent_size), np.float32))


def _check_served(spec: WorldSpec) -> None:
    """Raise BundleError for what the schema declares and the engine cannot run yet."""
    lacking = {
        "vector observations": isinstance(spec.observation, VectorSpec),
        f"{spec.head.kind} heads": not isinstance(spec.head, GaussianMixture),
        "encode_memory": spec.encode_memory,
        "worlds without decode": not spec.has_decode,
        "policy graphs": spec.has_policy,
        "signals": bool(spec.signals),
        "ends that are drawn": spec.done.rule == "drawn",
    }
    if missing := [name for name, is_used in lacking.items() if is_used]:
        raise BundleError(f"{spec.name}: this version does not serve {', '.join(missing)} yet")


def prior(spec: WorldSpec) -> Arrays:
    """Return a bank of one entry: the VAE's prior N(0, I) with a zero recurrent state."""
    bank = {
        "mu": np.zeros((1, spec.latent_size), np.float32),
        "logvar": np.zeros((1, spec.latent_size), np.float32),
    }
    for tensor in spec.recurrent_state:
        bank[f"state.{tensor.name}"] = np.zeros((1, *tensor.shape), np.float32)
    return bank


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
