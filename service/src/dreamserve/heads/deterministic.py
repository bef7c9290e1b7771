"""Deterministic latents: the world predicts one next latent."""

from typing import Literal

import numpy as np

from dreamserve.heads.base import Array, Float64, Head, Int64, Outputs, Prepared, Shape, UInt64


class Deterministic(Head):
    """A single latent, the mean. Surprise is the mean squared error."""

    kind: Literal["deterministic"] = "deterministic"

    def outputs(self, latent_size: int) -> dict[str, Shape]:
        return {"mean": (latent_size,)}

    def posterior(self, latent_size: int) -> dict[str, Shape]:
        return self.outputs(latent_size)

    def shown(self, latent_size: int) -> dict[str, Shape]:
        return self.outputs(latent_size)

    def __str__(self) -> str:
        return "deterministic"

    @property
    def choices(self) -> int:
        return 1

    def parameters(self, outputs: Outputs) -> dict[str, Array]:
        return {"mean": outputs[0].copy()}

    def logits(self, outputs: Outputs) -> Array:
        return np.zeros((len(outputs[0]), 1), np.float32)

    def chosen(self, outputs: Outputs, order: Int64) -> Array:
        return outputs[0][:1].repeat(len(order), axis=0)

    def moments(self, outputs: Outputs) -> tuple[Float64, Float64]:
        mean = outputs[0][0].astype(np.float64)
        return mean, np.zeros_like(mean)

    def surprise(self, outputs: Outputs, latent: Array) -> float:
        return float(np.square(outputs[0][0].astype(np.float64) - latent).mean())

    def mode(self, posterior: Outputs) -> Array:
        return posterior[0]

    def prepared(self, posterior: Outputs) -> Prepared:
        return posterior

    def draw(self, prepared: Prepared, keys: UInt64) -> Array:
        mean: Array = prepared[0]
        return np.broadcast_to(mean, (len(keys), mean.shape[1])).copy()
