"""A world in closed form, in numpy alone: for tests, and as a readable example of a world.

Each component of the action pushes one latent dimension; latents decay to zero; the memory follows.
The reward is highest where the first dimension is `GOAL`, and the dream ends beyond `EDGE`.
`dreamserve.engine.fake.fake_world` wraps it into a World.
"""

from typing import Any

import numpy as np

from dreamserve.backends.base import Actions, Array, State, StepInput, StepOutput
from dreamserve.heads import Categorical, Deterministic, GaussianMixture
from dreamserve.heads.choices import one_hot
from dreamserve.manifest import DoneRule, NoiseSpec, RewardRule, SignalSpec, TensorSpec, WorldSpec
from dreamserve.observations import Crop, FrameSpec, VectorSpec
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


# Fields of a spec with everything that a world may have or lack, by what is particular to it.
KINDS: dict[str, dict[str, Any]] = {
    "categorical": {
        "head": Categorical(groups=LATENT // 2, classes=2),
        "noise": NoiseSpec(normal=0, uniform=LATENT // 2),
    },
    "deterministic": {"head": Deterministic(), "noise": NoiseSpec(normal=0, uniform=0)},
    "without decode": {"has_decode": False},
    "vector": {
        "observation": VectorSpec(
            names=("x", "v", "angle", "rate"),
            low=(-1, None, -3.14, None),
            high=(1, None, 3.14, None),
        )
    },
    "drawn ends": {"done": DoneRule(rule="drawn")},
    "signals": {
        "signals": (
            SignalSpec(name="value", description="Expected return from the next latent on."),
            SignalSpec(name="uncertainty", description="Distance of the second dimension from 0."),
        )
    },
    "encode with memory": {"encode_memory": True},
    "policy": {"has_policy": True},
}


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
    name: str = "fake", discrete: bool = True, space: ActionSpace | None = None, **fields: Any
) -> WorldSpec:
    """Return the spec of the fake world, of three discrete actions, or a Box of two components if
    not `discrete`, or any other action `space`. `fields` replace its other fields; see `KINDS`.
    """
    space = space or SPACES["Discrete" if discrete else "Box"]
    made = WorldSpec(
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
    return made.model_copy(update=fields)


class FakeBackend:
    """The backend of `fake_spec`. Rows do not influence each other.

    The discrete action `nan_action` makes its row NaN; `failing_action` in any row makes the batch
    raise RuntimeError.
    """

    name = "fake"

    def __init__(
        self, spec: WorldSpec, nan_action: int | None = None, failing_action: int | None = None
    ) -> None:
        self._spec, self._head = spec, spec.head
        self._middle, self._reach = _scale(spec.action_space)
        self._nan_action, self._failing_action = nan_action, failing_action

    def encode(self, observations: Array, state: State = ()) -> tuple[Array, ...]:
        mean = observations
        if self._spec.observation.kind == "frame":
            bands = observations.reshape(len(observations), LATENT, -1)
            mean = bands.mean(axis=2, dtype=np.float64).astype(np.float32) * 2 - 1
        if self._spec.encode_memory:
            mean = mean + np.float32(0.1) * state[0][:, :1]
        match self._head:
            case Categorical():
                return (mean.reshape(-1, LATENT // 2, 2).copy(),)
            case Deterministic():
                return (mean.copy(),)
        return mean.copy(), np.full_like(mean, -4.0)

    def decode(self, latent: Array) -> Array:
        if self._spec.observation.kind == "vector":
            return latent.copy()
        bands: Array = np.float32(0.5) * np.clip(latent, -1, 1) + np.float32(0.5)
        pixels = SIDE * SIDE * 3 // LATENT
        return np.repeat(bands, pixels, axis=1).reshape(-1, SIDE, SIDE, 3)

    def policy(self, latent: Array, state: State) -> Array:
        numbers = np.arange(self._spec.action_space.width, dtype=np.float32)
        return latent[:, :1] * numbers + state[0][:, :1]

    @np.errstate(over="ignore", invalid="ignore")  # as a graph computes
    def step(self, batch: StepInput) -> StepOutput:
        memory, count = batch.state
        mean = np.float32(DRIFT) * batch.latent + self._push(batch.action)  # (B, Z)
        mean[:, -1] += np.float32(0.1) * memory[:, 0]
        latent, head = self._drawn(batch, mean)
        if self._nan_action is not None:
            latent[batch.action == self._nan_action] = np.nan
        position = mean[:, 0] if isinstance(self._head, Categorical) else latent[:, 0]
        done_logit = np.abs(position) - np.float32(EDGE)
        if self._spec.done.rule == "drawn":
            done_logit *= np.float32(8)  # a probability of 0.0005 in the middle
        signals = {"value": latent[:, 0].copy(), "uncertainty": np.abs(latent[:, 1])}
        return StepOutput(
            latent=latent,
            reward=1 - np.square(latent[:, 0] - np.float32(GOAL)),
            done_logit=done_logit,
            state=(np.float32(0.5) * memory + batch.latent[:, :MEMORY], count + np.float32(1)),
            head=head,
            signals=tuple(signals[signal.name] for signal in self._spec.signals),
        )

    def _drawn(self, batch: StepInput, mean: Array) -> tuple[Array, tuple[Array, ...]]:
        """Return the next latent (B, Z), and the head's outputs."""
        match self._head:
            case Deterministic():
                return mean, (mean.copy(),)
            case Categorical():
                logits = np.float32(2) * mean.reshape(-1, LATENT // 2, 2)
                gap = logits[:, :, 0] - logits[:, :, 1]  # (B, groups)
                pick = (batch.noise > _first(gap, batch.temperature[:, None])).astype(np.int64)
                return one_hot(pick, 2), (logits,)
        mu = np.stack([mean - np.float32(GAP), mean + np.float32(GAP)], axis=1)  # (B, K, Z)
        logits = np.stack([np.zeros_like(mean[:, 0]), batch.latent[:, 1]], axis=1)  # (B, K)
        log_sigma = np.full_like(mu, LOG_SIGMA)
        first = _first(-logits[:, 1], batch.temperature)
        pick = (batch.noise[:, LATENT] > first).astype(np.int64)
        spread = np.exp(np.float32(LOG_SIGMA)) * np.sqrt(batch.temperature)
        latent = mu[np.arange(len(mu)), pick] + spread[:, None] * batch.noise[:, :LATENT]
        return latent, (logits, mu, log_sigma)

    def _push(self, action: Actions) -> Array:
        if self._failing_action is not None and (action == self._failing_action).any():
            raise RuntimeError("the batch contains failing_action")
        push = np.zeros((len(action), LATENT), np.float32)
        forces = (action.reshape(len(action), -1).astype(np.float32) - self._middle) / self._reach
        for i, force in enumerate(forces.T):
            push[:, i % LATENT] += np.float32(PUSH) * force
        return push


def _first(gap: Array, temperature: Array) -> Array:
    """Return the probability of the first of two choices, whose logits differ by `gap`."""
    warm = np.maximum(temperature, np.float32(1e-6))
    odds: Array = np.exp(np.clip(-gap / warm, -80, 80))
    probability: Array = np.reciprocal(1 + odds)
    return probability


def _scale(space: ActionSpace) -> tuple[Array, Array]:
    """Return what each component has where it does not push, and its distance from there at most.

    Choices push by -1 to 1; a Box's numbers push as they are, scaled if their bounds exceed ±1.
    """
    if isinstance(space, BoxSpace):
        reach = np.maximum(1, np.abs(space.bounds).max(axis=0))
        return np.zeros_like(reach), reach
    middle = np.array([(count - 1) / 2 for count in space.choice_counts], np.float32)
    return middle, np.maximum(middle, np.float32(0.5))
