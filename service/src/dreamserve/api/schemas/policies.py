"""Who acts in /rollout and /sample: a kind of policy and its fields, or the name of one without.

What depends on the world (its actions, the tensors that a policy reads) the engine checks.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from dreamserve.api.arrays import Action, Bias, Weights
from dreamserve.api.schemas.base import Body, wrong
from dreamserve.engine.types import policies as engine


class RandomPolicy(Body):
    """Uniformly over the action space; a pure function of a dream's seed and step."""

    kind: Literal["random"]

    def to_engine(self) -> engine.Policy:
        """Return the policy as the engine takes it."""
        return engine.RandomPolicy()


class ConstantPolicy(Body):
    """The same action at every step."""

    kind: Literal["constant"]
    action: Action = Field(
        description="An integer in a Discrete world, A numbers within the bounds in a Box world."
    )

    def to_engine(self) -> engine.Policy:
        """Return the policy as the engine takes it."""
        return engine.ConstantPolicy(self.action)


class LinearPolicy(Body):
    """scores = weights @ features + bias; or P of them, which all meet the same episodes."""

    kind: Literal["linear"]
    weights: Weights = Field(
        description="(A, F), or (P, A, F): a row for each of a Discrete world's actions, whose"
        " largest score acts, or for each component of a Box's, brought between its bounds by tanh."
    )
    bias: Bias | None = Field(None, description="(A,), or (P, A). Default: 0.")
    inputs: list[str] | None = Field(
        None,
        min_length=1,
        description="What the F features are: `latent` and recurrent tensors by name, one after"
        " the other. Default: the latent, then all recurrent tensors.",
    )

    @model_validator(mode="after")
    def _bias_fits(self) -> Self:
        fit_to_budget = self.weights.shape[:-1]
        if self.bias is not None and self.bias.shape != fit_to_budget:
            given = list(self.bias.shape)
            raise wrong(f"these weights need a bias of shape {list(fit_to_budget)}, not {given}")
        return self

    def to_engine(self) -> engine.Policy:
        """Return the policy as the engine takes it."""
        inputs = None if self.inputs is None else tuple(self.inputs)
        return engine.LinearPolicy(self.weights, self.bias, inputs)


class BundledPolicy(Body):
    """The controller that the world's bundle brings along."""

    kind: Literal["bundled"]

    def to_engine(self) -> engine.Policy:
        """Return the policy as the engine takes it."""
        return engine.BundledPolicy()


def _spelt_out(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


_Kinds = Annotated[
    RandomPolicy | ConstantPolicy | LinearPolicy | BundledPolicy, Field(discriminator="kind")
]
Policy = Annotated[
    _Kinds,
    BeforeValidator(_spelt_out, json_schema_input_type=Literal["random", "bundled"] | _Kinds),
]
