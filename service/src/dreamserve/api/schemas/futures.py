"""Looking ahead, while no session moves: samples, rollouts, plans."""

from typing import Literal, Self

from pydantic import Field, model_validator

from dreamserve.api.arrays import Actions, IntegerRows, Latent
from dreamserve.api.schemas.base import Body, Seed, SessionId, Start, Temperature, wrong
from dreamserve.api.schemas.policies import Policy
from dreamserve.engine import types as engine
from dreamserve.engine.types import policy_count


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
            raise wrong("give session_id, or world and start, not both")
        if self.session_id is None and self.start is None:
            raise wrong("give session_id, or start (and world)")
        if self.actions is not None and self.policy is not None:
            raise wrong("give actions or policy, not both")
        if self.actions is not None and len(self.actions) != self.horizon:
            raise wrong(f"horizon {self.horizon} needs as many actions, not {len(self.actions)}")
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
            raise wrong("give session_id, or world and start, not both")
        if (self.seeds is None) == (self.episodes is None):
            raise wrong("give episodes or seeds, one of them")
        if self.seeds is not None and self.seed is not None:
            raise wrong("give seed or seeds, not both")
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
        description="Steps for which each action is held: actions change on steps that are"
        " multiples of it.",
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
        options = {n: int(v) if v.is_integer() else v for n, v in self.options.items()}
        return engine.PlanRequest(**{**dict(self), "objective": objective, "options": options})
