"""The fake backend's world, for tests of the engine and the API."""

from typing import Any

import numpy as np

from dreamserve.backends.fake import LATENT, MEMORY, FakeBackend, fake_spec
from dreamserve.engine.world import World
from dreamserve.spaces import ActionSpace

BANK_SIZE = 16


def fake_world(
    name: str = "fake",
    *,
    discrete: bool = True,
    space: ActionSpace | None = None,
    nan_action: int | None = None,
    failing_action: int | None = None,
    **fields: Any,
) -> World:
    """Return a world in closed form (see `dreamserve.backends.fake`), with a small bank.

    `fields` replace those of its spec.
    """
    spec = fake_spec(name, discrete, space, **fields)
    entries = np.linspace(-0.5, 0.5, BANK_SIZE, dtype=np.float32)
    posterior = {
        name: np.resize(entries.repeat(LATENT), (BANK_SIZE, *shape)).astype(np.float32)
        for name, shape in spec.head.posterior(LATENT).items()
    }
    if "logvar" in posterior:
        posterior["logvar"] = np.full((BANK_SIZE, LATENT), -6, np.float32)
    bank = {
        **posterior,
        "state.memory": np.repeat(entries[:, None], MEMORY, axis=1),
        "state.n": np.zeros(BANK_SIZE, np.float32),
    }
    return World(spec, FakeBackend(spec, nan_action, failing_action), bank)
