"""Environments over the fake world, in this process."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium", reason="pip install 'dreamserve-client[gymnasium]'")

from dreamserve.engine.fake import fake_world
from dreamserve_client.envs import DreamEnv, DreamVectorEnv

Options = dict[str, Any]


class Made:
    """Makes environments of the fake world, and sessions to compare them with."""

    def one(self, world: Any = None, **options: Any) -> DreamEnv:
        """Return an environment of one dream."""
        return DreamEnv(bundle=world or fake_world(), **options)

    def many(self, num_envs: int = 3, world: Any = None, **options: Any) -> DreamVectorEnv:
        """Return an environment of many dreams."""
        return DreamVectorEnv(num_envs=num_envs, bundle=world or fake_world(), **options)


@pytest.fixture
def make() -> Made:
    return Made()


@pytest.fixture
def actions() -> np.ndarray:
    """Actions (T, N) of three dreams, most of which go forth, so that dreams end."""
    generator = np.random.default_rng(5)
    return np.where(generator.random((60, 3)) < 0.8, 2, generator.integers(3, size=(60, 3)))
