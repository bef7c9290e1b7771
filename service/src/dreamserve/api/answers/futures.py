"""What was seen ahead."""

from typing import Annotated, Any

from pydantic import Field

from dreamserve.api.answers.base import Answer, Tensor, array
from dreamserve.api.arrays import BOOLEAN, INTEGER, NUMBER, NUMBER_OR_NULL, Array


class MostLikelyAnswer(Answer):
    """The future without luck, of H steps: as a dream at temperature 0."""

    latents: Annotated[Array, array(NUMBER, 2)] = Field(description="(H, Z) float32.")
    rewards: Annotated[Array, array(NUMBER, 1)] = Field(description="(H,) float32.")
    terminated: Annotated[Array, array(BOOLEAN, 1)] = Field(description="(H,).")
    frames: Annotated[Array, array(INTEGER, 4)] | None = Field(
        None, description="(H, height, width, C) uint8."
    )


class ComponentsAnswer(Answer):
    """A future for each of the K components of the first step, by falling weight.

    (K, Z) where each latent dimension has a mixture of its own: future k has its k-th likeliest.
    """

    weights: Tensor = Field(description="(K,) or (K, Z) float32, at temperature 1.")
    order: Tensor = Field(description="(K,) or (K, Z) int64, the component's place in `mixture`.")
    latents: Annotated[Array, array(NUMBER, 3)] = Field(
        description="(K, H, Z) float32: the component's mean, then without luck."
    )
    rewards: Annotated[Array, array(NUMBER, 2)] = Field(description="(K, H) float32.")
    terminated: Annotated[Array, array(BOOLEAN, 2)] = Field(description="(K, H).")
    frames: Annotated[Array, array(INTEGER, 5)] | None = Field(
        None, description="(K, H, height, width, C) uint8."
    )


class SampleAnswer(Answer):
    """N futures of H steps. After a future's end its rewards are 0 and its latents stand.

    What was expected of a step, and how surely, is 0 from then on.
    """

    latents: Annotated[Array, array(NUMBER, 3)] = Field(description="(N, H, Z) float32.")
    rewards: Annotated[Array, array(NUMBER, 2)] = Field(description="(N, H) float32.")
    terminated: Annotated[Array, array(BOOLEAN, 2)] = Field(description="(N, H).")
    frames: Annotated[Array, array(INTEGER, 5)] | None = Field(
        None, description="(N, H, height, width, C) uint8."
    )
    mixture: dict[str, Tensor] | None = Field(
        None,
        description="What the world expected of each step: weights (N, H, K), mu (N, H, K, Z) and"
        " sigma (N, H, K, Z). A `per_dimension` head has weights (N, H, K, Z), an `isotropic` one"
        " sigma (N, H, K).",
    )
    entropy: Annotated[Array, array(NUMBER, 2)] | None = Field(
        None, description="(N, H) float32, of the components' weights, in nats: 0 to ln K."
    )
    differential_entropy: Annotated[Array, array(NUMBER, 2)] | None = Field(
        None, description="(N, H) float32, of the mixture, in nats per latent dimension."
    )
    most_likely: MostLikelyAnswer | None = None
    components: ComponentsAnswer | None = None


_POLICIES = "(P,)."


Figures = Annotated[Array, array(NUMBER_OR_NULL, 1)]


class RolloutStatistics(Answer):
    """What each policy's episodes came to, over the finite ones; null (in msgpack NaN) for none.

    Standard deviations are those of a sample (n - 1), 0 for a single episode.
    """

    episodes: Annotated[Array, array(INTEGER, 1)] = Field(description="(P,) the finite ones.")
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
    seeds: Annotated[Array, array(INTEGER, 1)] = Field(
        description="(E,) int64. A session reset with one of them dreams the same."
    )
    temperature: float
    returns: Annotated[Array, array(NUMBER, 2)] = Field(
        description="(P, E) float64, sums of rewards."
    )
    lengths: Annotated[Array, array(INTEGER, 2)] = Field(description="(P, E) int64, steps.")
    terminated: Annotated[Array, array(BOOLEAN, 2)] = Field(
        description="(P, E). False where `max_steps` cut it off."
    )
    finite: Annotated[Array, array(BOOLEAN, 2)] = Field(
        description="(P, E). False where it became NaN or infinite: it ends with its last good"
        " step, and counts in no statistics."
    )
    statistics: RolloutStatistics
    latents: Annotated[Array, array(NUMBER, 4)] | None = Field(
        None, description="(P, E, T + 1, Z) float32, the first one where the episode began."
    )
    actions: Tensor | None = Field(
        None, description="(P, E, T) int64 or (P, E, T, A) float32, taken in the latent before."
    )
    rewards: Annotated[Array, array(NUMBER, 3)] | None = Field(
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
