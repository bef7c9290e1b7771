"""Small worlds in numpy whose best actions are known."""

import numpy as np
import pytest

from dreamserve.backends.base import StepOutput
from dreamserve.engine.world import World
from dreamserve.manifest import SignalSpec
from dreamserve.spaces import DiscreteSpace, MultiBinarySpace, MultiDiscreteSpace
from dreamserve_training.evaluation.analytic.base import exact_bank, gaussian_spec

SPACES = {
    "Discrete": DiscreteSpace(n=3, names=("none", "right", "left")),
    "MultiDiscrete": MultiDiscreteSpace(nvec=(3, 2), names=("a", "b")),
    "MultiBinary": MultiBinarySpace(n=2, names=("a", "b")),
}
NEVER = -30.0


class Matching:
    """The latent (2,) is drawn anew at each step. It says which choices are right.

    Component i should be 1 where latent i is positive, else 0. Each right one earns 1; a wrong one
    is a `hit`, and ends the dream with the probability 1/5.
    """

    name = "numpy"

    def __init__(self, space):
        self.components = len(space.names) if space.shape else 1

    def step(self, batch):
        right = batch.latent[:, : self.components] > 0
        chosen = batch.action.reshape(len(batch.latent), -1)
        matches = (chosen == right).sum(axis=1).astype(np.float32)
        wrong = (matches < self.components).astype(np.float32)
        logit = np.where(wrong > 0, np.float32(np.log(0.25)), np.float32(NEVER))
        zeros = np.zeros_like(batch.latent)[:, None]
        head = (np.zeros((len(zeros), 1), np.float32), zeros, zeros)
        return StepOutput(batch.noise.copy(), matches, logit, (), head, (wrong,))

    def encode(self, observations, state=()):
        raise NotImplementedError

    decode = encode


@pytest.fixture
def matching():
    """Return a function from a kind of space to a world of the class `Matching`."""

    def world_of(kind):
        space = SPACES[kind]
        spec = gaussian_spec("matching", space, 2)
        signal = SignalSpec(name="hit", description="whether a choice was wrong")
        spec = spec.model_copy(update={"signals": (signal,)})
        starts = np.random.default_rng(0).standard_normal((60, 2))
        return World(spec, Matching(space), exact_bank(starts), ages=np.arange(60))

    return world_of
