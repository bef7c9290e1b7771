"""What the server answers, as frozen values with numpy arrays.

Shapes: Z is the latent size, K the mixture's components, (h, w, C) the world's frame, N futures of
H steps, B rows of a batch, A the length of a Box action. Latents, rewards and mixtures are float32,
frames uint8. Arrays are the caller's own: writing into them changes nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Required, TypedDict

import numpy as np
import numpy.typing as npt

from dreamserve_client.errors import APIStatusError

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
ResetInclude = Literal["frame", "state"]
StepInclude = Literal["frame", "mixture", "state"]
SampleInclude = Literal["frames", "mixture", "entropy", "most_likely", "components"]
RolloutInclude = Literal["trajectories"]
Numbers = Sequence[Any] | npt.NDArray[Any]  # nested lists or an array
Action = int | np.integer[Any] | Sequence[float] | npt.NDArray[Any]


Snapshot = Mapping[str, Any]  # a document: keep it as it is, in whatever way


class Start(TypedDict, total=False):
    """Where a dream begins: one of `bank`, `latent` or `frames` (with `actions`)."""

    bank: int  # entry of the world's bank of real starting points
    latent: Numbers  # (Z,)
    frames: Numbers  # (F, H, W, C) uint8, the dream begins at the last one
    actions: Numbers  # (F - 1, ...) taken between the frames


class PolicyFields(TypedDict, total=False):
    """Who acts: a `kind`, and what that kind takes."""

    kind: Required[Literal["random", "constant", "linear", "bundled"]]
    action: Action  # constant
    weights: Numbers  # linear: (A, F), or (P, A, F) for P policies
    bias: Numbers  # linear: (A,) or (P, A)
    inputs: Sequence[str]  # linear: "latent" and recurrent tensors, in the order of the F features


Policy = Literal["random", "bundled"] | PolicyFields


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """What the world expected next: weights (K,) or (K, Z), mu (K, Z), sigma (K, Z) or (K,).

    Of a sample each has (N, H) in front.
    """

    weights: Float32
    mu: Float32
    sigma: Float32


@dataclass(frozen=True, slots=True, eq=False)
class Reset:
    """A dream at its step 0."""

    session_id: str
    world: str
    step: int
    latent: Float32  # (Z,)
    seed: int
    temperature: float
    frame: UInt8 | None = None  # (h, w, C)
    state: Mapping[str, Float32] | None = None  # recurrent tensors by name


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A dream after one more step."""

    session_id: str
    step: int
    latent: Float32  # (Z,)
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]
    frame: UInt8 | None = None  # (h, w, C)
    mixture: Mixture | None = None
    state: Mapping[str, Float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ResetBatch:
    """B dreams at their step 0, in the order asked. A row in `errors` holds zeros."""

    world: str
    session_ids: tuple[str, ...]  # B
    latents: Float32  # (B, Z)
    seeds: Int64  # (B,)
    temperatures: Float32  # (B,)
    errors: Mapping[int, APIStatusError]  # by row, what `reset` would have raised


@dataclass(frozen=True, slots=True, eq=False)
class StepBatch:
    """B dreams, each after one more step, in the order asked. A row in `errors` holds zeros."""

    session_ids: tuple[str, ...]  # B
    steps: Int64  # (B,)
    latents: Float32  # (B, Z)
    rewards: Float32  # (B,)
    terminated: Bool  # (B,)
    truncated: Bool  # (B,)
    errors: Mapping[int, APIStatusError]  # by row, what `step` would have raised


@dataclass(frozen=True, slots=True, eq=False)
class MostLikely:
    """The future without luck, of H steps: as a dream at temperature 0."""

    latents: Float32  # (H, Z)
    rewards: Float32  # (H,)
    terminated: Bool  # (H,)
    frames: UInt8 | None = None  # (H, h, w, C)


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """A future for each of the K components of the first step, by falling weight.

    (K, Z) where each latent dimension has a mixture of its own: future k has its k-th likeliest.
    """

    weights: Float32  # (K,) or (K, Z)
    order: Int64  # (K,) or (K, Z), the component's place in the mixture
    latents: Float32  # (K, H, Z): the component's mean, then without luck
    rewards: Float32  # (K, H)
    terminated: Bool  # (K, H)
    frames: UInt8 | None = None  # (K, H, h, w, C)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """N futures of H steps. After a future has ended its rewards are 0 and its latents stand.

    What was expected of a step, and how surely, is 0 from then on.
    """

    latents: Float32  # (N, H, Z)
    rewards: Float32  # (N, H)
    terminated: Bool  # (N, H)
    frames: UInt8 | None = None  # (N, H, h, w, C)
    mixture: Mixture | None = None  # (N, H, …)
    entropy: Float32 | None = None  # (N, H), of the components' weights, nats
    differential_entropy: Float32 | None = None  # (N, H), nats per latent dimension
    most_likely: MostLikely | None = None
    components: Components | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RolloutStatistics:
    """What each policy's episodes came to, over the finite ones; NaN where none is."""

    episodes: Int64  # (P,) the finite ones
    mean_return: Float64  # (P,) and so below
    std_return: Float64  # of a sample (n - 1)
    min_return: Float64
    max_return: Float64
    mean_length: Float64
    std_length: Float64
    share_terminated: Float64


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """E episodes of each of P policies; T is the steps of the longest, 0 fills up the others."""

    world: str
    seeds: Int64  # (E,) a session reset with one of them dreams the same
    temperature: float
    returns: Float64  # (P, E) sums of rewards
    lengths: Int64  # (P, E) steps
    terminated: Bool  # (P, E) false where max_steps cut it off
    finite: Bool  # (P, E) false where it became NaN or infinite, and ends with its last good step
    statistics: RolloutStatistics
    latents: Float32 | None = None  # (P, E, T + 1, Z), the first one where it began
    actions: npt.NDArray[Any] | None = None  # (P, E, T) int64, or (P, E, T, A) float32
    rewards: Float32 | None = None  # (P, E, T)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The best action sequence found, and what the dream says it is worth."""

    action: int | Float32  # the first of `actions`: an int, or (A,)
    actions: npt.NDArray[Any]  # (H,) int64, or (H, A) float32
    value: float  # by the objective
    planner: str
    iterations: int
    evaluations: int  # candidates dreamt to their end
    elapsed_ms: float
    cut_short: bool


@dataclass(frozen=True, slots=True, eq=False)
class Fork:
    """New sessions, where the dream of `session_id` is."""

    session_id: str
    world: str
    step: int
    latent: Float32  # (Z,)
    session_ids: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Rewind:
    """A session after an earlier step, as if none had followed."""

    session_id: str
    step: int
    latent: Float32  # (Z,)
    terminated: bool
    rewindable_to: int


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What a session is."""

    session_id: str
    world: str
    step: int
    seed: int
    temperature: float
    terminated: bool
    idle_s: float
    rewindable_to: int  # the earliest step that it can go back to


@dataclass(frozen=True, slots=True)
class World:
    """A world that the server hosts."""

    name: str
    version: str | None  # hash of the bundle's content; None for a world in memory
    backend: str
    action_space: Mapping[str, Any]  # type, and n or low and high, in Gymnasium's terms
    action_names: tuple[str, ...]
    latent_size: int
    frame_shape: tuple[int, ...]  # h, w, C
    quality: Mapping[str, Any]  # how good it is, as measured at export
    manifest: Mapping[str, Any]  # the whole manifest; empty in the list of worlds
