"""Categorical latents (DreamerV2, Hafner et al. 2021): groups of one-hot vectors, flattened."""

from typing import Literal

import numpy as np
from pydantic import Field

from dreamserve import noise
from dreamserve.heads.base import Array, Float64, Head, Int64, Outputs, Prepared, Shape, UInt64
from dreamserve.heads.choices import log_weights, one_hot, probabilities

_AT_ONCE = 2**17  # numbers: a large bank is prepared in slices, whose float64 copies are small


class Categorical(Head):
    """`groups` independent choices of one of `classes`; Z = groups x classes.

    Surprise is the cross entropy, in nats per group.
    """

    kind: Literal["categorical"] = "categorical"
    groups: int = Field(ge=1, lt=2**31)
    classes: int = Field(ge=2, lt=2**31)

    def outputs(self, latent_size: int) -> dict[str, Shape]:
        return {"logits": (self.groups, self.classes)}

    def posterior(self, latent_size: int) -> dict[str, Shape]:
        return self.outputs(latent_size)

    def shown(self, latent_size: int) -> dict[str, Shape]:
        return {"probabilities": (self.groups, self.classes)}

    def check_latent_size(self, latent_size: int) -> None:
        if latent_size != self.groups * self.classes:
            raise ValueError(
                f"latent_size {latent_size} must be groups x classes,"
                f" {self.groups} x {self.classes} = {self.groups * self.classes}"
            )

    def __str__(self) -> str:
        return f"categorical, {self.groups} groups of {self.classes} classes"

    @property
    def choices(self) -> int:
        return self.classes

    def parameters(self, outputs: Outputs) -> dict[str, Array]:
        rows = probabilities(self.logits(outputs))
        return {"probabilities": np.ascontiguousarray(rows.swapaxes(1, 2))}

    def logits(self, outputs: Outputs) -> Array:
        return outputs[0].swapaxes(1, 2)

    def chosen(self, outputs: Outputs, order: Int64) -> Array:
        return one_hot(order, self.classes)

    def moments(self, outputs: Outputs) -> tuple[Float64, Float64]:
        weights = np.exp(log_weights(self.logits(outputs)[:1]))[0].T.ravel()
        return weights, weights * (1 - weights)

    def surprise(self, outputs: Outputs, latent: Array) -> float:
        logs = log_weights(self.logits(outputs)[:1])[0]  # (classes, groups)
        share = latent.reshape(self.groups, self.classes).astype(np.float64)
        # A class without probability costs nothing where the latent does not have it.
        terms = np.where(share == 0, 0, share * logs.T)
        return float(-terms.sum() / self.groups)

    def mode(self, posterior: Outputs) -> Array:
        return one_hot(posterior[0].argmax(axis=2), self.classes)

    def prepared(self, posterior: Outputs) -> Prepared:
        (logits,) = posterior
        bounds = np.empty((len(logits), self.groups, self.classes - 1), np.float64)
        rows = max(1, _AT_ONCE // (self.groups * self.classes))
        for first in range(0, len(logits), rows):
            part = self.logits((logits[first : first + rows],))
            with np.errstate(over="ignore", invalid="ignore"):  # of observations
                sums = np.cumsum(np.exp(log_weights(part)), axis=1)
            bounds[first : first + rows] = sums[:, :-1].swapaxes(1, 2)
        return (bounds,)

    def draw(self, prepared: Prepared, keys: UInt64) -> Array:
        uniforms = noise.draw(keys, 0, self.groups)
        return one_hot((uniforms[:, :, None] > prepared[0]).sum(axis=2), self.classes)
