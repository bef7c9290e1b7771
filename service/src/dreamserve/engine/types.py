"""What is asked of the engine and what it answers. Who fills each field is said beside it.

A request is checked in form by whoever builds it (the API, `dreamserve.dream`); the engine checks
it against the world. Every submitted request ends in exactly one answer: a result or an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from dreamserve.engine.policies import Policy
from dreamserve.errors import WireError

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
Include = frozenset[
    Literal["frame", "mixture", "state", "entropy", "most_likely", "components", "trajectories"]
]
NOTHING: Include = frozenset()


@dataclass(frozen=True, slots=True)
class BankStart:
    """Start at entry `index` of the world's bank of real starting points."""

    index: int


@dataclass(frozen=True, slots=True, eq=False)
class LatentStart:
    """Start at this latent, with the recurrent state at zero."""

    latent: Float32  # (Z,)


@dataclass(frozen=True, slots=True, eq=False)
class FramesStart:
    """Start at the last of these real frames, the memory burnt in on the ones before."""

    frames: UInt8  # (F, H, W, C), the camera's shape or the model's
    actions: npt.NDArray[Any]  # (F - 1, ...) the actions taken between them


Start = BankStart | LatentStart | FramesStart


@dataclass(frozen=True, slots=True, eq=False)
class ResetRequest:
    """Begin a dream. What is None, the engine chooses (and says in its answer)."""

    world: str | None = None  # None: the only world, or the first loaded
    session_id: str | None = None
    seed: int | None = None  # 0 … 2**53 - 1, so that JSON's numbers hold it
    temperature: float | None = None  # None: 1.0
    start: Start | None = None  # None: a bank entry drawn from the seed
    rewind_window: int = 0  # steps that it can be rewound by; each is kept, and costs its state
    include: Include = NOTHING


@dataclass(slots=True, eq=False)  # not frozen: that would double what one costs to make
class StepRequest:
    """Advance a dream by one action."""

    session_id: str
    action: Any  # int, or (A,) floats
    step: int | None = None  # the number this step will have; None: the next one
    observation: UInt8 | Float32 | None = None  # the real next frame (uint8) or latent (float32)
    include: Include = NOTHING


@dataclass(frozen=True, slots=True, eq=False)
class StepBatchRequest:
    """Advance many dreams of one world, each by one action; a bad row harms no other."""

    session_id: ClassVar[None] = None  # of many

    session_ids: Sequence[str]
    actions: npt.NDArray[Any]  # (B,) integers or (B, A) numbers
    steps: npt.NDArray[np.int64] | None = None  # (B,) as StepRequest's; None: the next ones


@dataclass(frozen=True, slots=True, eq=False)
class ResetBatchRequest:
    """Begin many dreams in one world, or start them over. Columns of B rows; None as in a reset."""

    session_id: ClassVar[None] = None  # of many

    count: int  # B
    world: str | None = None
    session_ids: Sequence[str] | None = None
    seeds: npt.NDArray[np.int64] | None = None
    temperatures: npt.NDArray[np.float32] | None = None
    bank: npt.NDArray[np.int64] | None = None  # entries of the world's bank
    latents: Float32 | None = None  # (B, Z), with an empty memory; instead of the bank
    rewind_window: int = 0  # of each of them
    known_only: bool = False  # a server that shuts down begins no new sessions


@dataclass(frozen=True, slots=True)
class SampleBounds:
    """The most that one sample may take, what it includes counted in."""

    dreamt_steps: float = inf
    frames: float = inf
    mixture_bytes: float = inf


UNBOUNDED = SampleBounds()


@dataclass(frozen=True, slots=True, eq=False)
class SampleRequest:
    """Dream many futures from a session's present, or from a start; the session does not move."""

    futures: int
    horizon: int
    session_id: str | None = None
    world: str | None = None
    start: Start | None = None
    actions: npt.NDArray[Any] | None = None  # (H, ...) open loop; None: as the policy does
    policy: Policy | None = None  # one of them; None: uniformly random
    temperature: float | None = None  # None: the session's
    seed: int | None = None
    include: Include = NOTHING
    bounds: SampleBounds = UNBOUNDED


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """The weights of what counts in a plan, as `engine.objectives` says; 0: does not."""

    reward: float = 0.0
    survival: float = 0.0
    target: Float32 | None = None  # a latent (Z,)
    target_weight: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class PlanRequest:
    """Look for the best action sequence from a session's present; the session does not move."""

    session_id: str
    planner: str = "cem"  # of planning.catalog
    horizon: int = 20  # H actions
    candidates: int | None = None  # None: the planner's default, and so below
    iterations: int | None = None  # random shooting takes one, whatever is said here
    options: Mapping[str, Any] = field(default_factory=dict)  # the planner's own others
    discount: float = 0.99  # of a step
    particles: int = 1  # dreams of each candidate
    action_repeat: int = 1  # steps for which each is held, changing on multiples of it only
    objective: Objective | None = None  # None: the sum of rewards
    temperature: float | None = None
    warm_start: bool = True  # begin with what remains of the session's last plan
    budget_ms: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RolloutRequest:
    """Dream whole episodes, E of each of P policies; no session moves.

    Episode e of every policy has the same seed: all policies meet the same luck.
    """

    policy: Policy
    max_steps: int
    episodes: int | None = None  # E; None: as many as there are seeds
    seeds: npt.NDArray[np.int64] | None = None  # (E,); None: they follow from `seed`
    session_id: str | None = None  # begin at its present
    world: str | None = None
    start: Start | None = None  # None: a bank entry drawn from each episode's seed
    temperature: float | None = None  # None: the session's, or 1.0
    seed: int | None = None
    include: Include = NOTHING


@dataclass(frozen=True, slots=True, eq=False)
class ForkRequest:
    """Let a dream go on in more than one way: new sessions that are where it is."""

    session_id: str
    session_ids: Sequence[str]  # of the forks; those that are there start over
    seeds: Sequence[int] | None = None  # None: the session's own, so the same luck


@dataclass(frozen=True, slots=True, eq=False)
class RewindRequest:
    """Go back to an earlier step of the session's window, by exactly one of the two."""

    session_id: str
    steps: int | None = None  # by so many
    to_step: int | None = None  # to that one: the same however often it is asked


@dataclass(frozen=True, slots=True, eq=False)
class SnapshotRequest:
    """Ask for all that a session is."""

    session_id: str


@dataclass(frozen=True, slots=True, eq=False)
class RestoreRequest:
    """Make a session what a snapshot says; the one of that id starts over."""

    session_id: str
    snapshot: "Snapshot"


@dataclass(frozen=True, slots=True, eq=False)
class SessionQuery:
    """Ask what a session is, or end it."""

    session_id: str
    delete: bool = False


Request = (
    ResetRequest
    | StepRequest
    | StepBatchRequest
    | ResetBatchRequest
    | SampleRequest
    | PlanRequest
    | RolloutRequest
    | ForkRequest
    | RewindRequest
    | SnapshotRequest
    | RestoreRequest
    | SessionQuery
)


@dataclass(frozen=True, slots=True, eq=False)
class ResetResult:
    """A dream at its step 0."""

    session_id: str
    world: str
    step: int
    latent: Float32  # (Z,)
    seed: int
    temperature: float
    frame: UInt8 | None = None  # (H, W, C)
    state: dict[str, Float32] | None = None  # recurrent tensors by name


@dataclass(slots=True, eq=False)  # not frozen, as StepRequest
class StepResult:
    """A dream after one more step."""

    session_id: str
    step: int
    latent: Float32  # (Z,), a row of its batch's
    reward: float
    terminated: bool
    truncated: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    frame: UInt8 | None = None
    mixture: dict[str, Float32] | None = None  # weights, mu, sigma of what the world expected
    state: dict[str, Float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StepBatchResult:
    """Many dreams, each after one more step. A row with an error holds zeros."""

    session_ids: Sequence[str]
    steps: npt.NDArray[np.int64]  # (B,)
    latents: Float32  # (B, Z)
    rewards: Float32  # (B,)
    terminated: npt.NDArray[np.bool_]  # (B,)
    truncated: npt.NDArray[np.bool_]  # (B,)
    errors: dict[int, WireError]  # by row


@dataclass(frozen=True, slots=True, eq=False)
class ResetBatchResult:
    """Many dreams at their step 0. A row with an error holds zeros."""

    world: str
    session_ids: Sequence[str]
    latents: Float32  # (B, Z)
    seeds: npt.NDArray[np.int64]  # (B,)
    temperatures: Float32  # (B,)
    errors: dict[int, WireError]  # by row


@dataclass(frozen=True, slots=True, eq=False)
class MostLikely:
    """The future without luck, of H steps: as a dream at temperature 0."""

    latents: Float32  # (H, Z)
    rewards: Float32  # (H,)
    terminated: npt.NDArray[np.bool_]  # (H,)
    frames: UInt8 | None = None  # (H, h, w, C)


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """A future for each of the K components of the first step, by falling weight.

    (K, Z) where each latent dimension has a mixture of its own: future k has its k-th likeliest.
    """

    weights: Float32  # (K,) or (K, Z), at temperature 1
    order: npt.NDArray[np.int64]  # (K,) or (K, Z), the component's place in the mixture
    latents: Float32  # (K, H, Z)
    rewards: Float32  # (K, H)
    terminated: npt.NDArray[np.bool_]  # (K, H)
    frames: UInt8 | None = None  # (K, H, h, w, C)


@dataclass(frozen=True, slots=True, eq=False)
class SampleResult:
    """N futures of H steps. After a future has ended its rewards are 0 and its latents stand.

    What was expected of a step, and how surely, is 0 from then on.
    """

    latents: Float32  # (N, H, Z)
    rewards: Float32  # (N, H)
    terminated: npt.NDArray[np.bool_]  # (N, H)
    frames: UInt8 | None = None  # (N, H, h, w, C)
    mixture: dict[str, Float32] | None = None  # weights, mu, sigma: (N, H, …) in the head's shapes
    entropy: Float32 | None = None  # (N, H) nats, as `engine.uncertainty` says
    differential_entropy: Float32 | None = None  # (N, H) nats per latent dimension
    most_likely: MostLikely | None = None
    components: Components | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PlanResult:
    """The best sequence found and what the dream says it is worth."""

    action: Any  # the first of `actions`
    actions: npt.NDArray[Any]  # (H, ...)
    value: float  # by the objective
    planner: str
    iterations: int
    evaluations: int  # candidates dreamt to their end
    elapsed_ms: float
    cut_short: bool


@dataclass(frozen=True, slots=True, eq=False)
class RolloutResult:
    """E episodes of each of P policies, and T, the steps of the longest of them.

    An episode that became NaN or infinite is not `finite`: it ends with its last good step. What
    lies beyond an episode's length is 0.
    """

    world: str
    seeds: npt.NDArray[np.int64]  # (E,)
    temperature: float
    returns: npt.NDArray[np.float64]  # (P, E) sums of rewards
    lengths: npt.NDArray[np.int64]  # (P, E) steps
    terminated: npt.NDArray[np.bool_]  # (P, E) false where max_steps cut it off
    finite: npt.NDArray[np.bool_]  # (P, E)
    statistics: dict[str, npt.NDArray[Any]]  # (P,) each, as `engine.rollouts.statistics` says
    latents: Float32 | None = None  # (P, E, T + 1, Z), the first one where it began
    actions: npt.NDArray[Any] | None = None  # (P, E, T, ...)
    rewards: Float32 | None = None  # (P, E, T)


@dataclass(frozen=True, slots=True, eq=False)
class ForkResult:
    """The forks, where their dream goes on."""

    session_id: str  # what they were forked from
    world: str
    step: int
    latent: Float32  # (Z,)
    session_ids: Sequence[str]
    seeds: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class RewindResult:
    """A session after an earlier step, as if none had followed."""

    session_id: str
    step: int
    latent: Float32  # (Z,)
    terminated: bool
    rewindable_to: int


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All that a session is, for any server with the same bundle."""

    format: str
    format_version: int
    world: str
    world_version: str | None  # of the bundle; None for a world in memory
    step: int
    seed: int
    temperature: float
    terminated: bool
    latent: Float32  # (Z,)
    state: dict[str, Float32]  # recurrent tensors by name
    action: Any  # of the last step, an int or (A,) floats
    reward: float  # of the last step
    plain: bool  # the last step had an action only, and may be answered again from this
    digest: str  # over all the rest


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


Result = (
    ResetResult
    | StepResult
    | StepBatchResult
    | ResetBatchResult
    | SampleResult
    | PlanResult
    | RolloutResult
    | ForkResult
    | RewindResult
    | Snapshot
    | SessionInfo
)
