"""A dream as a Gymnasium environment."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch

from dreamserve.engine.pixels import to_pixels
from dreamserve.engine.world import World
from dreamserve.loading import load_world
from dreamserve.local import LocalClient
from dreamserve.manifest import WorldSpec
from dreamserve.observations import FrameSpec, ObservationSpec, VectorSpec
from dreamserve.spaces import (
    ActionSpace,
    DiscreteSpace,
    MultiBinarySpace,
    MultiDiscreteSpace,
)
from dreamserve_protocol.common import Start
from dreamserve_protocol.sample import SampleResult
from dreamserve_protocol.sessions import Snapshot
from dreamserve_training.dreams.worlds import world_from_models
from dreamserve_training.models.mixture import TemperatureRule

Float32 = npt.NDArray[np.float32]
OPTIONS = ("initial_observation", "actions", "latent", "bank", "temperature")
_SESSION = "environment"
_SEEDS = 2**53


def shows_frames(spec: WorldSpec) -> bool:
    """Return whether a world's dreams can be rendered as pictures."""
    return spec.has_decode and isinstance(spec.observation, FrameSpec)


class DreamEnvironment(gymnasium.Env[Float32, Any]):
    """One dream at a time; observations are latents (Z,) float32.

    It is made from the checkpoints of V and M, or from a `world`; `from_bundle` loads a bundle.
    `action_space_size`, if given, must be the one that M was trained with: the number of actions,
    of components, or of all choices of a MultiDiscrete space. `constant_reward` is the reward of
    every step if M has no reward head. Episodes are truncated after
    `max_episode_steps` (default: never). With `render_mode="rgb_array"`, `render` returns images;
    a world that shows no frames has no render mode.

    `reset` takes a seed, which makes the episode reproducible, and these options: one of
    `initial_observation`: what the real environment shows, a frame (H, W, 3) uint8 or, in a world
    of vectors, a vector (n,), or F of them with the `actions` (F - 1, …) taken between them; in a
    world of frames it may be a latent (Z,), too; `latent`: a latent (Z,) of any world; or `bank`:
    the index of one of the world's starting points; and the episode's `temperature`. Raises
    ValueError, CheckpointError and the errors of the engine (`dreamserve_protocol.errors`).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 35}  # noqa: RUF012  (Gymnasium's form)

    def __init__(
        self,
        vae_model_path: str | Path | None = None,
        mdnrnn_model_path: str | Path | None = None,
        action_space_size: int | None = None,
        temperature: float = 1.0,
        *,
        world: World | None = None,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        constant_reward: float = 1.0,
        temperature_rule: TemperatureRule = "paper",
        device: str = "cpu",
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or 'rgb_array', not {render_mode!r}")
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(f"max_episode_steps must be at least 1, not {max_episode_steps}")
        if world is None:
            if vae_model_path is None or mdnrnn_model_path is None:
                raise ValueError("give the paths of both models, or a world")
            world = world_from_models(
                vae_model_path,
                mdnrnn_model_path,
                constant_reward=constant_reward,
                temperature_rule=temperature_rule,
                device=device,
            )
        spec = world.spec
        if render_mode and not shows_frames(spec):
            raise ValueError(f"render_mode must be None: {spec.name} shows no frames")
        self.world, self.dream, self.temperature = world, LocalClient(world), temperature
        self.action_space = space_of(world.spec.action_space, action_space_size)
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (world.spec.latent_size,), np.float32
        )
        self.max_episode_steps, self.render_mode = max_episode_steps, render_mode
        self._latent: Float32 | None = None
        self._step = 0

    @classmethod
    def from_bundle(
        cls, path: str | Path, *, temperature: float = 1.0, **options: Any
    ) -> "DreamEnvironment":
        """Load the bundle in the folder `path`; `options` are those of the constructor."""
        return cls(world=load_world(path), temperature=temperature, **options)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32, dict[str, Any]]:
        """Start a dream; return its latent, and its `seed` and `temperature` as info."""
        super().reset(seed=seed)
        options = dict(options or {})
        if unknown := sorted(set(options) - set(OPTIONS)):
            raise ValueError(f"unknown reset options {unknown}; known options: {list(OPTIONS)}")
        session = self.dream.reset(
            session_id=_SESSION,
            seed=int(self.np_random.integers(_SEEDS)) if seed is None else seed,
            temperature=options.get("temperature", self.temperature),
            start=start_of(
                self.world.spec.observation,
                **{name: value for name, value in options.items() if name != "temperature"},
            ),
        )
        self._latent, self._step = session.latent, 0
        return session.latent.copy(), {"seed": session.seed, "temperature": session.temperature}

    def step(self, action: Any) -> tuple[Float32, float, bool, bool, dict[str, Any]]:
        """Dream one step; `info["step"]` is its number."""
        if self._latent is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        result = self.dream.step(session_id=_SESSION, action=action)
        self._latent, self._step = result.latent, result.step
        truncated = self.max_episode_steps is not None and result.step >= self.max_episode_steps
        info = {**result.info, "step": result.step}
        return result.latent.copy(), result.reward, result.terminated, truncated, info

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Return the current latent as an image (H, W, 3) uint8; None without render_mode."""
        if self.render_mode is None:
            return None
        if self._latent is None:
            raise gymnasium.error.ResetNeeded("call reset before render")
        frames = self.world.backend.decode(self._latent[None])
        image: npt.NDArray[np.uint8] = to_pixels(self.world.spec.observation, frames)[0]
        return image

    def futures(self, count: int, horizon: int, actions: Any = None, **fields: Any) -> SampleResult:
        """Sample `count` futures from the current state, which does not change.

        All of them take `actions` (horizon, …); by default each takes uniformly random actions.
        `fields` are those of `dreamserve_protocol.sample.SampleRequest`: `temperature`, `seed`, and
        `include`, any of "frames", "mixture", "entropy", "most_likely" and "components" (one future
        for each component of the mixture).
        """
        fields["include"] = frozenset(fields.get("include", ()))
        return self.dream.sample(
            session_id=self.plan_session(),
            futures=count,
            horizon=horizon,
            actions=None if actions is None else np.asarray(actions),
            **fields,
        )

    def snapshot(self) -> Snapshot:
        """Return a snapshot for `restore` in this or another environment of the same world."""
        return self.dream.snapshot(self.plan_session())

    def restore(self, snapshot: Snapshot) -> Float32:
        """Restore a snapshot and return its latent (Z,); no `reset` is needed before.

        The dream continues bit-identically, and the steps before the snapshot count for
        `max_episode_steps`. Raises SnapshotRefusedError for another world's snapshot.
        """
        info = self.dream.restore(_SESSION, snapshot)
        self._latent, self._step = snapshot.latent.copy(), info.step
        return snapshot.latent.copy()

    def plan_session(self) -> str:
        """Return the id of this environment's session; ResetNeeded before the first `reset`."""
        if self._latent is None:
            raise gymnasium.error.ResetNeeded("call reset before futures, snapshot or planning")
        return _SESSION


def space_of(space: ActionSpace, size: int | None) -> gymnasium.Space[Any]:
    """Return `space` as a Gymnasium space; ValueError if it has not `size` actions (None: any)."""
    if size is not None and size != space.width:
        actions = space.width
        raise ValueError(f"action_space_size is {size}, but the model was trained with {actions}")
    match space:
        case DiscreteSpace():
            return gymnasium.spaces.Discrete(space.n)
        case MultiDiscreteSpace():
            return gymnasium.spaces.MultiDiscrete(list(space.nvec))
        case MultiBinarySpace():
            return gymnasium.spaces.MultiBinary(space.n)
    low, high = space.bounds
    return gymnasium.spaces.Box(low, high, dtype=np.float32)


def start_of(
    spec: ObservationSpec,
    initial_observation: Any = None,
    actions: Any = None,
    bank: Any = None,
    latent: Any = None,
) -> Start | None:
    """Return where a dream starts, None if only the seed decides; ValueError for a conflict.

    `spec` is what the world sees: it tells a real vector from a latent.
    """
    given = {"initial_observation": initial_observation, "bank": bank, "latent": latent}
    if len(chosen := [name for name, value in given.items() if value is not None]) > 1:
        raise ValueError(f"give one of {', '.join(given)}, not both {' and '.join(chosen)}")
    if initial_observation is None:
        if actions is not None:
            raise ValueError("actions need the observations between them as initial_observation")
        return Start(bank=bank, latent=_array(latent)) if chosen else None
    observed, taken = _array(initial_observation), np.asarray([] if actions is None else actions)
    if isinstance(spec, VectorSpec):
        return Start(vectors=observed if observed.ndim > 1 else observed[None], actions=taken)
    if observed.dtype == np.uint8 and observed.ndim >= 3:
        return Start(frames=observed if observed.ndim == 4 else observed[None], actions=taken)
    if actions is not None:
        raise ValueError("actions need frames (F, H, W, 3) uint8, not a latent")
    return Start(latent=observed)


def _array(given: Any) -> Any:
    """Return numbers or a tensor as an array, None as it is; floats are float32."""
    if given is None:
        return None
    array = np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given)
    return array.astype(np.float32) if array.dtype.kind == "f" else array
