"""What an environment shows of a world: its spaces, and observations made of a result's fields."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space

from dreamserve_client.client import DreamClient
from dreamserve_client.errors import ConfigurationError
from dreamserve_client.transports.choose import TransportName
from dreamserve_client.transports.in_process import InProcess
from dreamserve_protocol.arrays import Int64, UInt8, array_of
from dreamserve_protocol.batches import FinalRows, ResetBatchResult, StepBatchResult
from dreamserve_protocol.errors import DreamserveError
from dreamserve_protocol.reset import ResetResult, StateInclude
from dreamserve_protocol.step import StepResult
from dreamserve_protocol.worlds import WorldResult

_Columns = ResetBatchResult | StepBatchResult | FinalRows
LARGEST_SEED = 2**53  # exclusive: what a JSON number holds exactly
METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}
_ROUNDING = np.float32(4 * np.finfo(np.float32).eps)  # of a bound: a few units in the last place
_RENDER_MODES = (None, "rgb_array")


@dataclass(slots=True)
class Shown:
    """What B dreams show: their observations and, if they are rendered, their frames."""

    observations: npt.NDArray[Any]  # (B, …)
    frames: UInt8 | None  # (B, H, W, C); those of the observations, if these are frames

    def copy_rows(self, rows: Int64, source: "Shown") -> None:
        """Write the same rows of another one."""
        self.observations[rows] = source.observations[rows]
        if self.frames is not None and source.frames is not None:
            self.frames[rows] = source.frames[rows]


class View:
    """The spaces of a world, and how its fields become observations.

    observation: `latent`; `frame` or, in a world of vectors, `vector`; `latent+memory`, the latent
        and then all recurrent tensors in the manifest's order; or the names of tensors, such as
        ("latent", "h"), to concatenate. Vectors are clipped to the bounds of the real environment,
        which their space has: a dream may go a little beyond.

    Raises ConfigurationError for what the world does not have.
    """

    def __init__(
        self, world: WorldResult, observation: str | Sequence[str], render_mode: str | None
    ) -> None:
        if render_mode not in _RENDER_MODES:
            raise ConfigurationError(f"render_mode must be None or 'rgb_array': {render_mode!r}")
        self.world = world
        self.action_space = _space_of(world.action_space)
        self._bounds, self._rounding = _bounds(world), _rounding(self.action_space)
        self.names = () if observation in ("frame", "vector") else _names(world, observation)
        if "frame" in (observation, render_mode and "frame") and world.frame_shape is None:
            raise ConfigurationError(f"{world.name} shows no frames")
        if observation == "vector" and self._bounds is None:
            raise ConfigurationError(f"{world.name} shows no vectors")
        self.include: tuple[StateInclude, ...] = ("frame",) if render_mode else ()
        if observation == "frame" and not render_mode:
            self.include += ("frame",)
        if observation == "vector":
            self.include += ("vector",)
        if set(self.names) - {"latent"}:
            self.include += ("state",)
        self.observation_space = self._observations()

    def empty(self, count: int) -> Shown:
        """Return arrays for `count` dreams, to be written."""
        frames = None
        if "frame" in self.include:
            frames = np.empty((count, *(self.world.frame_shape or ())), np.uint8)
        if frames is not None and not self.names:
            return Shown(frames, frames)
        return Shown(np.empty((count, *self.observation_space.shape), np.float32), frames)

    def write(self, shown: Shown, rows: slice | Int64, result: _Columns) -> None:
        """Write what the columns of a result show to these rows."""
        if shown.frames is not None and result.frames is not None:
            shown.frames[rows] = result.frames
        if "vector" in self.include and result.vectors is not None:
            shown.observations[rows] = self._within(result.vectors)
        first = 0
        for name in self.names:
            tensor = result.latents if name == "latent" else (result.state or {})[name]
            columns = tensor.reshape(len(tensor), -1)
            last = first + columns.shape[1]
            shown.observations[rows, first:last] = columns
            first = last

    def one(self, result: ResetResult | StepResult) -> npt.NDArray[Any]:
        """Return the observation of one dream; it may be the result's own array."""
        if "vector" in self.include:
            return self._within(result.vector)
        if not self.names:
            return np.asarray(result.frame)
        tensors = {"latent": result.latent, **(result.state or {})}
        parts = [tensors[name].ravel() for name in self.names]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def taken(self, actions: Any) -> Any:
        """Return actions whose rounding errors are undone; others, and wrong ones, as they are.

        RescaleAction, say, gives a Box's bound a few units in the last place too far out.
        """
        space = self.action_space
        if not isinstance(space, Box):
            return actions
        try:
            given = np.asarray(actions)
        except ValueError:  # rows of different lengths
            return actions
        if given.dtype.kind != "f" or given.shape[-1:] != space.shape:
            return actions
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = given.astype(np.float32)
            clipped = np.clip(rounded, space.low, space.high)
            beyond = np.abs(rounded - clipped)
        is_near = (beyond > 0) & (beyond <= self._rounding)
        return np.where(is_near, clipped, rounded) if is_near.any() else actions

    def _within(self, vectors: Any) -> npt.NDArray[Any]:
        return np.asarray(vectors) if self._bounds is None else np.clip(vectors, *self._bounds)

    def _observations(self) -> Box:
        if "vector" in self.include and self._bounds is not None:
            return Box(*self._bounds, dtype=np.float32)
        if not self.names:
            return Box(0, 255, tuple(self.world.frame_shape or ()), np.uint8)
        sizes = _sizes(self.world)
        # a world bounds neither its latents nor its memory
        return Box(-np.inf, np.inf, (sum(sizes[name] for name in self.names),), np.float32)


def open_view(
    base_url: str | None,
    bundle: Any,
    client: DreamClient | None,
    transport: TransportName,
    world: str | None,
    observation: str | Sequence[str],
    render_mode: str | None,
    api_key: str | None = None,
) -> tuple[DreamClient, View]:
    """Return the client of an environment, and its view of the world.

    Raises ConfigurationError, and as DreamClient; what was opened is then closed.
    """
    if sum(one is not None for one in (base_url, bundle, client)) != 1:
        raise ConfigurationError("give exactly one of base_url, bundle and client")
    if client is not None:
        opened = client.with_options(frames="array")  # closing it leaves the original open
    elif bundle is not None:
        opened = DreamClient(transport=InProcess(bundle))
    else:
        opened = DreamClient(base_url, transport=transport, api_key=api_key)
    try:
        described = opened.world(opened.worlds()[0].name if world is None else world)
        return opened, View(described, observation, render_mode)
    except DreamserveError:
        opened.close()
        raise


def check_options(options: dict[str, Any] | None, known: Sequence[str]) -> dict[str, Any]:
    """Return the reset options that are not None. Raises ConfigurationError for unknown ones."""
    options = dict(options or {})
    if unknown := sorted(set(options) - set(known)):
        raise ConfigurationError(f"unknown reset options {unknown}; known are {list(known)}")
    return {name: option for name, option in options.items() if option is not None}


def column_of(name: str, value: Any, rows: int) -> npt.NDArray[Any]:
    """Return a reset option as a column with all rows. Raises ValueError for another number."""
    column, of_row = array_of(name, value), 1 if name == "latents" else 0
    try:
        return np.broadcast_to(column, (rows, *column.shape[column.ndim - of_row :]))
    except ValueError:
        raise ValueError(f"{name} must be one, or one for each of {rows} rows") from None


def _space_of(space: dict[str, Any]) -> Space[Any]:
    if space["type"] == "Discrete":
        return Discrete(space["n"])
    if space["type"] == "Box":
        low, high = (np.array(space[bound], np.float32) for bound in ("low", "high"))
        return Box(low, high, dtype=np.float32)
    if space["type"] == "MultiDiscrete":
        return MultiDiscrete(space["nvec"])
    if space["type"] == "MultiBinary":
        return MultiBinary(space["n"])
    raise ConfigurationError(f"this version of dreamserve_client knows no {space['type']} actions")


def _rounding(space: Space[Any]) -> npt.NDArray[Any]:
    """Return how far (A,) the components of a Box may be outside by rounding."""
    if not isinstance(space, Box):
        return np.zeros(())
    return _ROUNDING * np.maximum(np.abs(space.low), np.abs(space.high))


def _bounds(world: WorldResult) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
    """Return the bounds (n,) of the vectors that a world shows; None if it shows none."""
    seen = world.manifest.get("observation", {})
    if seen.get("kind") != "vector" or not world.manifest.get("has_decode", True):
        return None
    low = [-np.inf if bound is None else bound for bound in seen["low"]]
    high = [np.inf if bound is None else bound for bound in seen["high"]]
    return np.array(low, np.float32), np.array(high, np.float32)


def _sizes(world: WorldResult) -> dict[str, int]:
    """Return how many numbers each tensor of a world has, the latent first."""
    state = {one["name"]: int(np.prod(one["shape"])) for one in world.manifest["recurrent_state"]}
    return {"latent": world.latent_size, **state}


def _names(world: WorldResult, observation: str | Sequence[str]) -> tuple[str, ...]:
    sizes = _sizes(world)
    if observation == "latent+memory":
        return tuple(sizes)
    names = (observation,) if isinstance(observation, str) else tuple(observation)
    if not names or len(set(names)) < len(names) or set(names) - set(sizes):
        decoded = "vector" if _bounds(world) else "frame" if world.frame_shape else None
        known = ", ".join(repr(name) for name in ("latent", decoded, "latent+memory") if name)
        raise ConfigurationError(
            f"observation must be {known} or different names of {list(sizes)}, it is"
            f" {observation!r}"
        )
    return names
