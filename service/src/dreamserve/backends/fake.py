"""A world in closed form, in numpy alone: for tests, and as a readable example of a world.

Each component of the action pushes one latent dimension; latents decay to zero; the memory follows.
The reward is highest where the first dimension is `GOAL`, and the dream ends beyond `EDGE`.
`dreamserve.engine.fake.fake_world` wraps it into a World.
"""

import numpy as np

from dreamserve.backends.base import Actions, Array, StepInput, StepOutput
from dreamserve.heads import GaussianMixture
from dreamserve.manifest import DoneRule, NoiseSpec, RewardRule, TensorSpec, WorldSpec
from dreamserve.observations import Crop, FrameSpec
from dreamserve.spaces import (
    ActionSpace,
    BoxSpace,
    DiscreteSpace,
    MultiBinarySpace,
    MultiDiscreteSpace,
)

LATENT, MEMORY, COMPONENTS = 4, 3, 2
SIDE = 8  # the frames are SIDE x SIDE, each latent dimension a band of rows
GOAL, EDGE = 0.6, 0.95
DRIFT, PUSH, GAP, LOG_SIGMA = 0.9, 0.2, 0.05, -3.0


# An action space of each kind, by Gymnasium's name for it; and one with other bounds than ±1.
SPACES: dict[str, ActionSpace] = {
    "Discrete": DiscreteSpace(n=3, names=("back", "stay", "forth")),
    "Box": BoxSpace(low=(-1.0, -0.5), high=(1.0, 0.5), names=("first", "second")),
    "Box with odd bounds": BoxSpace(
        low=(-2.0, 0.0, 10.0), high=(2.0, 1.0, 1e9), names=("torque", "gas", "current")
    ),
    "MultiDiscrete": MultiDiscreteSpace(
        nvec=(3, 2, 5, 2),
        names=("move", "fire", "gear", "horn"),
        choices=(
            ("back", "stay", "forth"),
            ("no", "yes"),
            ("reverse", "neutral", "first", "second", "third"),
            ("off", "on"),
        ),
    ),
    "MultiBinary": MultiBinarySpace(n=3, names=("jump", "duck", "fire")),
}


def fake_spec(
    name: str = "fake", discrete: bool = True, space: ActionSpace | None = None
) -> WorldSpec:
    """Return the spec of the fake world, of three discrete actions, or a Box of two components if
    not `discrete`, or any other action `space`.
    """
    space = space or SPACES["Discrete" if discrete else "Box"]
    return WorldSpec(
        name=name,
        action_space=space,
        observation=FrameSpec(
            source_shape=(2 * SIDE, 3 * SIDE, 3),
            crop=Crop(top=0, bottom=2 * SIDE, left=0, right=2 * SIDE),
            shape=(SIDE, SIDE, 3),
        ),
        latent_size=LATENT,
        recurrent_state=(
            TensorSpec(name="memory", shape=(MEMORY,)),
            TensorSpec(name="n", shape=()),
        ),
        head=GaussianMixture(form="joint", components=COMPONENTS),
        noise=NoiseSpec(normal=LATENT, uniform=1),
        temperature_rule="paper",
        done=DoneRule(),
        reward=RewardRule(kind="head"),
    )


class FakeBackend:
    """The backend of `fake_spec`. Rows do not influence each other.

    The discrete action `nan_action` makes its row NaN; `failing_action` in any row makes the batch
    raise RuntimeError.
    """

    name = "fake"

    def __init__(
        self, spec: WorldSpec, nan_action: int | None = None, failing_action: int | None = None
    ) -> None:
        self._middle, self._reach = _scale(spec.action_space)
        self._nan_action, self._failing_action = nan_action, failing_action

    def encode(self, frames: Array) -> tuple[Array, Array]:
        bands = frames.reshape(len(frames), LATENT, -1)
        mu = bands.mean(axis=2, dtype=np.float64).astype(np.float32) * 2 - 1
        return mu, np.full_like(mu, -4.0)

    def decode(self, latent: Array) -> Array:
        bands: Array = np.float32(0.5) * np.clip(latent, -1, 1) + np.float32(0.5)
        pixels = SIDE * SIDE * 3 // LATENT
        return np.repeat(bands, pixels, axis=1).reshape(-1, SIDE, SIDE, 3)

    @np.errstate(over="ignore", invalid="ignore")  # as a graph computes
    def step(self, batch: StepInput) -> StepOutput:
        memory, count = batch.state
        mean = np.float32(DRIFT) * batch.latent + self._push(batch.action)  # (B, Z)
        mean[:, -1] += np.float32(0.1) * memory[:, 0]
        mu = np.stack([mean - np.float32(GAP), mean + np.float32(GAP)], axis=1)  # (B, K, Z)
        logits = np.stack([np.zeros_like(mean[:, 0]), batch.latent[:, 1]], axis=1)  # (B, K)
        log_sigma = np.full_like(mu, LOG_SIGMA)
        temperature = np.maximum(batch.temperature, np.float32(1e-6))
        first = 1 / (1 + np.exp(np.clip(logits[:, 1] / temperature, -80, 80)))
        pick = (batch.noise[:, LATENT] > first).astype(np.int64)
        spread = np.exp(np.float32(LOG_SIGMA)) * np.sqrt(batch.temperature)
        latent = mu[np.arange(len(mu)), pick] + spread[:, None] * batch.noise[:, :LATENT]
        if self._nan_action is not None:
            latent[batch.action == self._nan_action] = np.nan
        return StepOutput(
            latent=latent,
            reward=1 - np.square(latent[:, 0] - np.float32(GOAL)),
            done_logit=np.abs(latent[:, 0]) - np.float32(EDGE),
            state=(np.float32(0.5) * memory + batch.latent[:, :MEMORY], count + np.float32(1)),
            mixture_logits=logits,
            mixture_mu=mu,
            mixture_log_sigma=log_sigma,
        )

    def _push(self, action: Actions) -> Array:
        if self._failing_action is not None and (action == self._failing_action).any():
            raise RuntimeError("the batch contains failing_action")
        push = np.zeros((len(action), LATENT), np.float32)
        forces = (action.reshape(len(action), -1).astype(np.float32) - self._middle) / self._reach
        for i, force in enumerate(forces.T):
            push[:, i % LATENT] += np.float32(PUSH) * force
        return push


def _scale(space: ActionSpace) -> tuple[Array, Array]:
    """Return what each component has where it does not push, and its distance from there at most.

    Choices push by -1 to 1; a Box's numbers push as they are, scaled if their bounds exceed ±1.
    """
    if isinstance(space, BoxSpace):
        reach = np.maximum(1, np.abs(space.bounds).max(axis=0))
        return np.zeros_like(reach), reach
    middle = np.array([(count - 1) / 2 for count in space.choice_counts], np.float32)
    return middle, np.maximum(middle, np.float32(0.5))
