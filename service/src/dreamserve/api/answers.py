"""What the service answers, field by field. The OpenAPI document is made of these models.

The engine's results have the same fields and are encoded as they are (`codec.as_fields`); tests
hold the answers against this document. A field that is not required is absent unless asked for.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import CoreSchema

from dreamserve.api.arrays import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    NUMBER,
    NUMBER_OR_NULL,
    Array,
    ArrayField,
    nested,
)
from dreamserve.manifest import ActionSpace


def _array(item: CoreSchema, axes: int) -> ArrayField:
    return ArrayField(lambda value: value, nested(item, axes))


Latent = Annotated[Array, _array(NUMBER, 1)]
Frame = Annotated[Array, _array(INTEGER, 3)]
Tensor = Annotated[Array, ArrayField(lambda value: value, NUMBER, nested(ANYTHING, 1))]


def _absent_not_null(schema: dict[str, Any]) -> None:
    """Say that an optional field is left out rather than sent as null."""
    for field in schema.get("properties", {}).values():
        if field.get("default", 0) is None:
            del field["default"]
            field["anyOf"] = [form for form in field["anyOf"] if form != {"type": "null"}]


class Answer(BaseModel):
    """A response body."""

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, json_schema_extra=_absent_not_null
    )


class ResetAnswer(Answer):
    """A dream at its step 0."""

    session_id: str
    world: str
    step: Literal[0]
    latent: Latent = Field(description="(Z,) float32.")
    seed: int
    temperature: float
    frame: Frame | None = Field(None, description="(H, W, C) uint8.")
    state: dict[str, Tensor] | None = Field(None, description="Recurrent tensors by name.")


class StepInfo(BaseModel):
    """What else there is to say of a step."""

    surprise: float | None = Field(
        None, description="Negative log-likelihood of the observation, nats per latent dimension."
    )
    expected_surprise: float | None = Field(
        None, description="What that would be had the world dreamt it, nats per latent dimension."
    )


class StepAnswer(Answer):
    """A dream after one more step."""

    session_id: str
    step: int
    latent: Latent = Field(description="(Z,) float32.")
    reward: float
    terminated: bool = Field(description="The dream has ended; only /reset goes on from here.")
    truncated: bool
    info: StepInfo
    frame: Frame | None = Field(None, description="(H, W, C) uint8.")
    mixture: dict[str, Tensor] | None = Field(
        None, description="What the world expected: weights, mu and sigma of K components."
    )
    state: dict[str, Tensor] | None = Field(None, description="Recurrent tensors by name.")


class RowError(Answer):
    """Why one row of a batch was not done; the codes are those of problems."""

    row: int
    code: str
    status: int = Field(description="What /step or /reset would have answered.")
    detail: str


class StepBatchAnswer(Answer):
    """Many dreams, each one step later, in the order asked. A row with an error holds zeros."""

    session_ids: list[str]
    steps: Annotated[Array, _array(INTEGER, 1)] = Field(description="(B,) int64.")
    latents: Annotated[Array, _array(NUMBER, 2)] = Field(description="(B, Z) float32.")
    rewards: Annotated[Array, _array(NUMBER, 1)] = Field(description="(B,) float32.")
    terminated: Annotated[Array, _array(BOOLEAN, 1)] = Field(description="(B,).")
    truncated: Annotated[Array, _array(BOOLEAN, 1)] = Field(description="(B,).")
    errors: list[RowError] = Field(description="Of the rows that were not done; often empty.")


class ResetBatchAnswer(Answer):
    """Many dreams at their step 0, in the order asked. A row with an error holds zeros."""

    world: str
    session_ids: list[str]
    latents: Annotated[Array, _array(NUMBER, 2)] = Field(description="(B, Z) float32.")
    seeds: Annotated[Array, _array(INTEGER, 1)] = Field(description="(B,) int64.")
    temperatures: Annotated[Array, _array(NUMBER, 1)] = Field(description="(B,) float32.")
    errors: list[RowError] = Field(description="Of the rows that were not done; often empty.")


class MostLikelyAnswer(Answer):
    """The future without luck, of H steps: as a dream at temperature 0."""

    latents: Annotated[Array, _array(NUMBER, 2)] = Field(description="(H, Z) float32.")
    rewards: Annotated[Array, _array(NUMBER, 1)] = Field(description="(H,) float32.")
    terminated: Annotated[Array, _array(BOOLEAN, 1)] = Field(description="(H,).")
    frames: Annotated[Array, _array(INTEGER, 4)] | None = Field(
        None, description="(H, height, width, C) uint8."
    )


class ComponentsAnswer(Answer):
    """A future for each of the K components of the first step, by falling weight.

    (K, Z) where each latent dimension has a mixture of its own: future k has its k-th likeliest.
    """

    weights: Tensor = Field(description="(K,) or (K, Z) float32, at temperature 1.")
    order: Tensor = Field(description="(K,) or (K, Z) int64, the component's place in `mixture`.")
    latents: Annotated[Array, _array(NUMBER, 3)] = Field(
        description="(K, H, Z) float32: the component's mean, then without luck."
    )
    rewards: Annotated[Array, _array(NUMBER, 2)] = Field(description="(K, H) float32.")
    terminated: Annotated[Array, _array(BOOLEAN, 2)] = Field(description="(K, H).")
    frames: Annotated[Array, _array(INTEGER, 5)] | None = Field(
        None, description="(K, H, height, width, C) uint8."
    )


class SampleAnswer(Answer):
    """N futures of H steps. After a future's end its rewards are 0 and its latents stand.

    What was expected of a step, and how surely, is 0 from then on.
    """

    latents: Annotated[Array, _array(NUMBER, 3)] = Field(description="(N, H, Z) float32.")
    rewards: Annotated[Array, _array(NUMBER, 2)] = Field(description="(N, H) float32.")
    terminated: Annotated[Array, _array(BOOLEAN, 2)] = Field(description="(N, H).")
    frames: Annotated[Array, _array(INTEGER, 5)] | None = Field(
        None, description="(N, H, height, width, C) uint8."
    )
    mixture: dict[str, Tensor] | None = Field(
        None,
        description="What the world expected of each step: weights (N, H, K), mu (N, H, K, Z) and"
        " sigma (N, H, K, Z). A `per_dimension` head has weights (N, H, K, Z), an `isotropic` one"
        " sigma (N, H, K).",
    )
    entropy: Annotated[Array, _array(NUMBER, 2)] | None = Field(
        None, description="(N, H) float32, of the components' weights, in nats: 0 to ln K."
    )
    differential_entropy: Annotated[Array, _array(NUMBER, 2)] | None = Field(
        None, description="(N, H) float32, of the mixture, in nats per latent dimension."
    )
    most_likely: MostLikelyAnswer | None = None
    components: ComponentsAnswer | None = None


_POLICIES = "(P,)."
Figures = Annotated[Array, _array(NUMBER_OR_NULL, 1)]


class RolloutStatistics(Answer):
    """What each policy's episodes came to, over the finite ones; null (in msgpack NaN) for none.

    Standard deviations are those of a sample (n - 1), 0 for a single episode.
    """

    episodes: Annotated[Array, _array(INTEGER, 1)] = Field(description="(P,) the finite ones.")
    mean_return: Figures = Field(description=_POLICIES)
    std_return: Figures = Field(description=_POLICIES)
    min_return: Figures = Field(description=_POLICIES)
    max_return: Figures = Field(description=_POLICIES)
    mean_length: Figures = Field(description=_POLICIES)
    std_length: Figures = Field(description=_POLICIES)
    share_terminated: Figures = Field(description=_POLICIES)


class RolloutAnswer(Answer):
    """E episodes of each of P policies; T is the steps of the longest, 0 fills up the others."""

    world: str
    seeds: Annotated[Array, _array(INTEGER, 1)] = Field(
        description="(E,) int64. A session reset with one of them dreams the same."
    )
    temperature: float
    returns: Annotated[Array, _array(NUMBER, 2)] = Field(
        description="(P, E) float64, sums of rewards."
    )
    lengths: Annotated[Array, _array(INTEGER, 2)] = Field(description="(P, E) int64, steps.")
    terminated: Annotated[Array, _array(BOOLEAN, 2)] = Field(
        description="(P, E). False where `max_steps` cut it off."
    )
    finite: Annotated[Array, _array(BOOLEAN, 2)] = Field(
        description="(P, E). False where it became NaN or infinite: it ends with its last good"
        " step, and counts in no statistics."
    )
    statistics: RolloutStatistics
    latents: Annotated[Array, _array(NUMBER, 4)] | None = Field(
        None, description="(P, E, T + 1, Z) float32, the first one where the episode began."
    )
    actions: Tensor | None = Field(
        None, description="(P, E, T) int64 or (P, E, T, A) float32, taken in the latent before."
    )
    rewards: Annotated[Array, _array(NUMBER, 3)] | None = Field(
        None, description="(P, E, T) float32."
    )


class PlanAnswer(Answer):
    """The best sequence found."""

    action: int | list[float] | Any = Field(description="The first of `actions`: take this one.")
    actions: Tensor = Field(description="(H,) integers or (H, A) numbers.")
    value: float = Field(description="What the objective makes of the dreams along `actions`.")
    planner: str
    iterations: int
    evaluations: int = Field(description="Candidates dreamt to their end.")
    elapsed_ms: float
    cut_short: bool = Field(description="The budget allowed less than was asked for.")


class ForkAnswer(Answer):
    """The forks, where their dream goes on."""

    session_id: str = Field(description="What they were forked from.")
    world: str
    step: int
    latent: Latent = Field(description="(Z,) float32.")
    session_ids: list[str]
    seeds: list[int]


class RewindAnswer(Answer):
    """A session after an earlier step, as if none had followed."""

    session_id: str
    step: int
    latent: Latent = Field(description="(Z,) float32.")
    terminated: bool
    rewindable_to: int


class SnapshotAnswer(Answer):
    """All that a session is."""

    format: Literal["dreamserve-snapshot"]
    format_version: Literal[1]
    world: str
    world_version: str | None = Field(None, description="Of the bundle; absent in memory.")
    step: int
    seed: int
    temperature: float
    terminated: bool
    latent: Latent = Field(description="(Z,) float32.")
    state: dict[str, Tensor] = Field(description="Recurrent tensors by name.")
    action: int | list[float] | Any = Field(description="Of the last step.")
    reward: float = Field(description="Of the last step.")
    plain: bool = Field(description="The last step had an action only, and can be answered again.")
    digest: str = Field(description="Over all the rest, however it is written.")


class SessionAnswer(Answer):
    """What a session is."""

    session_id: str
    world: str
    step: int
    seed: int
    temperature: float
    terminated: bool
    idle_s: float = Field(description="Seconds since it was last used.")
    rewindable_to: int = Field(description="The earliest step that it can go back to.")


class WorldSummary(Answer):
    """What is worth knowing of a world before dreaming in it."""

    name: str
    version: str | None = Field(description="Hash of the bundle's content; null in memory.")
    backend: str
    action_space: ActionSpace
    action_names: list[str]
    latent_size: int
    frame_shape: list[int] = Field(description="H, W, C of the decoded frame.")
    quality: dict[str, Any] = Field(description="How good it is, as measured at export.")


class WorldAnswer(WorldSummary):
    """All there is to know of a world."""

    manifest: dict[str, Any] = Field(description="The bundle's manifest.")


class WorldsAnswer(Answer):
    """The worlds that are loaded; the first is the default."""

    worlds: list[WorldSummary]


class Health(Answer):
    """The server is alive, or ready."""

    status: Literal["live", "ready"]


class Index(Answer):
    """Where things are."""

    name: str
    version: str
    docs: str
    openapi: str
    worlds: str
    ready: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: Literal["about:blank"]
    title: str = Field(description="The status's phrase.")
    status: int
    code: str = Field(description="Tells errors apart; docs/errors.md lists the codes.")
    detail: str = Field(description="What was wrong, where, and what would be right.")
    request_id: str = Field(description="As in the header x-request-id, and in the log.")
