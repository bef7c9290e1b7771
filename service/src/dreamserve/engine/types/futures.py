"""Looking ahead, while no session moves: samples, plans, rollouts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve.engine.types.base import NOTHING, Float32, Include, Start, UInt8
from dreamserve.engine.types.policies import Policy


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
    """The weights of what counts in a plan, as `imagination.objectives` says; 0: does not."""

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
    entropy: Float32 | None = None  # (N, H) nats, as `engine.imagination.uncertainty` says
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
    statistics: dict[str, npt.NDArray[Any]]  # (P,) each, as `rollouts.statistics` says
    latents: Float32 | None = None  # (P, E, T + 1, Z), the first one where it began
    actions: npt.NDArray[Any] | None = None  # (P, E, T, ...)
    rewards: Float32 | None = None  # (P, E, T)
