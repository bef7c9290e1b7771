"""What the service is asked: each body, field by field, and the engine's request it becomes.

Strict: no coercion between types (a bool is no integer, "1" no number), no unknown fields, finite
numbers only. What depends on the world (its action space, its shapes) the engine checks.
"""

import re
from secrets import token_hex
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from dreamserve.api.arrays import (
    Action,
    ActionRows,
    Actions,
    Frames,
    IntegerRows,
    Latent,
    LatentRows,
    NumberRows,
    Observation,
    Tensor,
)
from dreamserve.api.policies import Policy
from dreamserve.engine import types as engine
from dreamserve.engine.policies import policy_count
from dreamserve.errors import InvalidRequestError

SESSION_ID_LENGTH = 128
SessionId = Annotated[
    str,
    Field(
        pattern=rf"^[A-Za-z0-9_-]{{1,{SESSION_ID_LENGTH}}}$",
        description=f"1 to {SESSION_ID_LENGTH} characters of A-Z, a-z, 0-9, `_` and `-`.",
    ),
]


def check_session_id(session_id: str) -> None:
    """Raise InvalidRequestError for what could not be a session's id."""
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{SESSION_ID_LENGTH}}}", session_id):
        raise InvalidRequestError(
            f"a session's id is 1 to {SESSION_ID_LENGTH} characters of A-Z, a-z, 0-9, _ and -"
        )


Seed = Annotated[
    int,
    Field(ge=0, le=2**53 - 1, description="0 to 2^53 - 1. The same seed dreams the same dream."),
]
Temperature = Annotated[
    float,
    Field(
        ge=0,
        le=1000,
        description="Spread of what may happen next: 0 is the most likely only, 1 as learnt.",
    ),
]


class Body(BaseModel):
    """A request body."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True
    )


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("contradiction", "{message}", {"message": message})


class Start(Body):
    """Where a dream begins: exactly one of a bank entry, a latent, or real frames."""

    bank: int | None = Field(None, ge=0, description="Index into the world's real starting points.")
    latent: Latent | None = Field(None, description="(Z,) float32; the memory starts empty.")
    frames: Frames | None = Field(
        None,
        description="(F, H, W, C) uint8, the camera's shape or the model's. The dream starts at"
        " the last one, its memory burnt in on those before.",
    )
    actions: Actions | None = Field(
        None, description="The F - 1 actions between the frames: (F-1,) or (F-1, A)."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in ("bank", "latent", "frames") if getattr(self, name) is not None]
        if len(given) != 1:
            raise _wrong("give exactly one of bank, latent, frames")
        between = 0 if self.actions is None else len(self.actions)
        if self.frames is None and self.actions is not None:
            raise _wrong("actions go with frames")
        if self.frames is not None and between != len(self.frames) - 1:
            count = len(self.frames)
            raise _wrong(f"{count} frames need {count - 1} actions between them, not {between}")
        return self

    def to_engine(self) -> engine.Start:
        """Return the start as the engine takes it."""
        if self.bank is not None:
            return engine.BankStart(self.bank)
        if self.latent is not None:
            return engine.LatentStart(self.latent)
        assert self.frames is not None  # exactly one is given
        actions = np.empty(0, np.int64) if self.actions is None else self.actions
        return engine.FramesStart(self.frames, actions)


class Reset(Body):
    """Begin a dream, or start one over."""

    world: str | None = Field(None, description="Name of a loaded world. Default: the first.")
    session_id: SessionId | None = Field(
        None, description="Given, that session starts over or gets that id; else a new one is made."
    )
    seed: Seed | None = Field(None, description="Default: drawn, and told in the answer.")
    temperature: Temperature | None = Field(None, description="Default: 1.")
    start: Start | None = Field(None, description="Default: a bank entry drawn from the seed.")
    rewind_window: int = Field(
        0, ge=0, description="Steps that the session can be rewound by; each is kept in memory."
    )
    include: list[Literal["frame", "state"]] = Field(
        default_factory=list, description="Also answer the decoded frame, or the recurrent state."
    )

    def to_engine(self) -> engine.ResetRequest:
        """Return the request as the engine takes it."""
        return engine.ResetRequest(
            world=self.world,
            session_id=self.session_id,
            seed=self.seed,
            temperature=self.temperature,
            start=None if self.start is None else self.start.to_engine(),
            rewind_window=self.rewind_window,
            include=frozenset(self.include) if self.include else engine.NOTHING,
        )


class Step(Body):
    """Advance a dream by one action."""

    session_id: SessionId
    action: Action = Field(
        description="An integer in a Discrete world, A numbers within the bounds in a Box world."
    )
    step: int | None = Field(
        None,
        ge=1,
        le=2**53 - 1,
        description="The number this step will have: the last answered + 1. The last one, sent"
        " again with the same content, gets the same answer; anything else is a 409.",
    )
    observation: Observation | None = Field(
        None,
        description="What really came next: a frame (H, W, C) uint8 or a latent (Z,) float32. The"
        " dream is corrected to it, and `info` says how surprised it was.",
    )
    include: list[Literal["frame", "mixture", "state"]] = Field(
        default_factory=list,
        description="Also answer the decoded frame, what was expected, the recurrent state.",
    )

    def to_engine(self) -> engine.StepRequest:
        """Return the request as the engine takes it."""
        return engine.StepRequest(
            session_id=self.session_id,
            action=self.action,
            step=self.step,
            observation=self.observation,
            include=frozenset(self.include) if self.include else engine.NOTHING,
        )


class StepBatch(Body):
    """Advance many dreams of one world, each by one action. Columns of B rows."""

    session_ids: list[Annotated[str, Field(max_length=SESSION_ID_LENGTH)]] = Field(
        min_length=1, description="B different sessions of one world."
    )
    actions: ActionRows = Field(
        description="(B,) integers in a Discrete world, (B, A) numbers in a Box world."
    )
    steps: IntegerRows | None = Field(
        None, description="(B,) the number that each step will have, as `step` in /step."
    )

    def to_engine(self) -> engine.StepBatchRequest:
        """Return the request as the engine takes it."""
        return engine.StepBatchRequest(self.session_ids, self.actions, self.steps)


class ResetBatch(Body):
    """Begin many dreams in one world, or start them over. Columns of B rows."""

    world: str | None = Field(None, description="Name of a loaded world. Default: the first.")
    session_ids: list[SessionId] | None = Field(
        None, min_length=1, description="B different ids, as `session_id` in /reset."
    )
    count: int | None = Field(None, ge=1, description="B, where no ids are given: new ones.")
    seeds: IntegerRows | None = Field(None, description="(B,) Default: drawn.")
    temperatures: NumberRows | None = Field(None, description="(B,) Default: 1.")
    bank: IntegerRows | None = Field(
        None, description="(B,) entries of the bank. Default: drawn from the seeds."
    )
    latents: LatentRows | None = Field(
        None, description="(B, Z) instead of the bank; the memory starts empty."
    )
    rewind_window: int = Field(0, ge=0, description="Of each of them, as in /reset.")

    @model_validator(mode="after")
    def _how_many(self) -> Self:
        if (self.session_ids is None) == (self.count is None):
            raise _wrong("give session_ids or count, one of them")
        return self

    @property
    def rows(self) -> int:
        """How many dreams it begins."""
        return len(self.session_ids) if self.session_ids is not None else self.count or 0

    def to_engine(self, known_only: bool = False) -> engine.ResetBatchRequest:
        """Return the request as the engine takes it."""
        return engine.ResetBatchRequest(
            count=self.rows,
            world=self.world,
            session_ids=self.session_ids,
            seeds=self.seeds,
            temperatures=self.temperatures,
            bank=self.bank,
            latents=self.latents,
            rewind_window=self.rewind_window,
            known_only=known_only,
        )


class Sample(Body):
    """Dream many futures of a session, or of a start; nothing moves."""

    session_id: SessionId | None = Field(None, description="Whose present the futures begin at.")
    world: str | None = Field(None, description="Without a session: the world. Default: the first.")
    start: Start | None = Field(None, description="Without a session: where the futures begin.")
    futures: int = Field(ge=1, description="N, how many.")
    horizon: int = Field(ge=1, description="H, steps each.")
    actions: Actions | None = Field(
        None, description="(H,) or (H, A), the same in all futures. Default: uniformly random."
    )
    policy: Policy | None = Field(
        None, description="One policy, which acts where no `actions` are given. Default: random."
    )
    temperature: Temperature | None = Field(None, description="Default: the session's, or 1.")
    seed: Seed | None = Field(
        None, description="Default: follows from the session's seed and step."
    )
    include: list[Literal["frames", "mixture", "entropy", "most_likely", "components"]] = Field(
        default_factory=list,
        description="Also answer the decoded frames; what was expected of each step, and how"
        " surely; the future without luck; one future for each component of the first step. The"
        " last two take `actions`, or else those of the first future.",
    )

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.session_id is not None and (self.world is not None or self.start is not None):
            raise _wrong("give session_id, or world and start, not both")
        if self.session_id is None and self.start is None:
            raise _wrong("give session_id, or start (and world)")
        if self.actions is not None and self.policy is not None:
            raise _wrong("give actions or policy, not both")
        if self.actions is not None and len(self.actions) != self.horizon:
            raise _wrong(f"horizon {self.horizon} needs as many actions, not {len(self.actions)}")
        return self

    def to_engine(self, bounds: engine.SampleBounds = engine.UNBOUNDED) -> engine.SampleRequest:
        """Return the request as the engine takes it."""
        return engine.SampleRequest(
            futures=self.futures,
            horizon=self.horizon,
            session_id=self.session_id,
            world=self.world,
            start=None if self.start is None else self.start.to_engine(),
            actions=self.actions,
            policy=None if self.policy is None else self.policy.to_engine(),
            temperature=self.temperature,
            seed=self.seed,
            include=frozenset("frame" if part == "frames" else part for part in self.include),
            bounds=bounds,
        )


class Rollout(Body):
    """Dream whole episodes of one policy or many; no session moves."""

    policy: Policy = Field(
        description='Who acts: "random", "bundled", or an object with a `kind`; a linear one may'
        " be many policies at once."
    )
    max_steps: int = Field(ge=1, description="Where an episode that has not ended is cut off.")
    episodes: int | None = Field(
        None,
        ge=1,
        description="E, how many of each policy. Episode e of every policy has the same seed.",
    )
    seeds: IntegerRows | None = Field(
        None,
        description="(E,) instead of `episodes` and `seed`: each episode is the dream of a session"
        " reset with its seed. Default: they follow from `seed`, and are answered.",
    )
    seed: Seed | None = Field(
        None, description="Default: drawn, or follows from the session's seed and step."
    )
    session_id: SessionId | None = Field(None, description="Whose present the episodes begin at.")
    world: str | None = Field(None, description="Without a session: the world. Default: the first.")
    start: Start | None = Field(
        None,
        description="Without a session: where the episodes begin. Default: a bank entry drawn from"
        " each one's seed.",
    )
    temperature: Temperature | None = Field(None, description="Default: the session's, or 1.")
    include: list[Literal["trajectories"]] = Field(
        default_factory=list, description="Also answer all latents, actions and rewards."
    )

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.session_id is not None and (self.world is not None or self.start is not None):
            raise _wrong("give session_id, or world and start, not both")
        if (self.seeds is None) == (self.episodes is None):
            raise _wrong("give episodes or seeds, one of them")
        if self.seeds is not None and self.seed is not None:
            raise _wrong("give seed or seeds, not both")
        return self

    def to_engine(self) -> engine.RolloutRequest:
        """Return the request as the engine takes it."""
        return engine.RolloutRequest(
            policy=self.policy.to_engine(),
            max_steps=self.max_steps,
            episodes=self.episodes,
            seeds=self.seeds,
            session_id=self.session_id,
            world=self.world,
            start=None if self.start is None else self.start.to_engine(),
            temperature=self.temperature,
            seed=self.seed,
            include=frozenset(self.include),
        )

    @property
    def each(self) -> int:
        """E, the episodes of each policy."""
        return len(self.seeds) if self.seeds is not None else self.episodes or 0

    @property
    def policies(self) -> int:
        """P, how many policies act."""
        return policy_count(self.policy.to_engine())


class Objective(Body):
    """What a plan is for: weights, of which at least one is not 0."""

    reward: float = Field(0.0, description="Of the sum of rewards.")
    survival: float = Field(0.0, description="Of the expected number of steps survived.")
    target: Latent | None = Field(None, description="(Z,), a latent to come near to.")
    target_weight: float = Field(1.0, description="Of the mean squared distance from it.")

    def to_engine(self) -> engine.Objective:
        """Return the objective as the engine takes it."""
        return engine.Objective(**dict(self))


class Plan(Body):
    """Look for the best actions from a session's present; the session does not move."""

    session_id: SessionId
    planner: Literal["random_shooting", "cem", "icem", "mppi"] = Field(
        "cem",
        description="Random shooting, the cross-entropy method, improved CEM with coloured noise,"
        " or model predictive path integral control.",
    )
    horizon: int = Field(20, ge=1, description="H, actions looked ahead.")
    candidates: int | None = Field(
        None, ge=1, description="Action sequences tried in each iteration. Default: the planner's."
    )
    iterations: int | None = Field(
        None,
        ge=1,
        description="Default: the planner's. Random shooting takes one, whatever is said.",
    )
    options: dict[str, float] = Field(
        default_factory=dict, description="The planner's own: docs/planning.md lists them."
    )
    discount: float = Field(0.99, ge=0, le=1, description="Weight of a reward one step later.")
    particles: int = Field(
        1, ge=1, description="Dreams of each candidate, whose mean it is worth, against bad luck."
    )
    action_repeat: int = Field(
        1,
        ge=1,
        description="Steps for which each action is held: actions change when the step's number is a"
        " multiple of it.",
    )
    objective: Objective | None = Field(None, description="Default: the sum of rewards.")
    temperature: Temperature | None = Field(None, description="Default: the session's.")
    warm_start: bool = Field(
        True, description="Begin with what remains of the session's last plan."
    )
    budget_ms: float | None = Field(
        None,
        ge=1,
        le=3_600_000,
        description="Answer by then, with the best so far; `candidates` and `iterations` are then"
        " the most that is tried.",
    )
    seed: Seed | None = Field(
        None, description="Default: follows from the session's seed and step."
    )

    def to_engine(self) -> engine.PlanRequest:
        """Return the request as the engine takes it."""
        objective = None if self.objective is None else self.objective.to_engine()
        return engine.PlanRequest(**{**dict(self), "objective": objective})


class Fork(Body):
    """Let a dream go on in more than one way: new sessions that are where it is."""

    session_ids: list[SessionId] | None = Field(
        None, min_length=1, description="Of the forks; those that are there start over."
    )
    count: int | None = Field(None, ge=1, description="Without ids: how many. Default: 1.")
    seeds: list[Seed] | None = Field(
        None, description="One a fork. Default: the session's own, and with it the same luck."
    )

    @model_validator(mode="after")
    def _how_many(self) -> Self:
        if self.session_ids is not None and self.count is not None:
            raise _wrong("give session_ids or count, not both")
        return self

    @property
    def rows(self) -> int:
        """How many forks it makes."""
        return len(self.session_ids) if self.session_ids is not None else self.count or 1

    def to_engine(self, session_id: str) -> engine.ForkRequest:
        """Return the request as the engine takes it."""
        ids = self.session_ids or [token_hex(16) for _ in range(self.rows)]
        return engine.ForkRequest(session_id, ids, self.seeds)


class Rewind(Body):
    """Go back to an earlier step of the session's window."""

    steps: int | None = Field(None, ge=0, description="By so many.")
    to_step: int | None = Field(
        None, ge=0, description="To that one: the same however often it is asked."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.steps is None) == (self.to_step is None):
            raise _wrong("give steps or to_step, one of them")
        return self

    def to_engine(self, session_id: str) -> engine.RewindRequest:
        """Return the request as the engine takes it."""
        return engine.RewindRequest(session_id, self.steps, self.to_step)


class Snapshot(Body):
    """A session as a document: what GET answered, unchanged."""

    format: str
    format_version: int
    world: str
    world_version: str | None = None
    step: int = Field(ge=0, le=2**53 - 1)
    seed: Seed
    temperature: Temperature
    terminated: bool
    latent: Latent
    state: dict[str, Tensor]
    action: Action
    reward: float
    plain: bool
    digest: str

    def to_engine(self) -> engine.Snapshot:
        """Return the snapshot as the engine takes it."""
        return engine.Snapshot(**dict(self))
