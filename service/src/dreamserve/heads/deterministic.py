"""Deterministic latents: the world predicts one next latent."""

from typing import Literal

from dreamserve.heads.base import Head, Shape


class Deterministic(Head):
    """A single latent, the mean."""

    kind: Literal["deterministic"] = "deterministic"

    def outputs(self, latent_size: int) -> dict[str, Shape]:
        return {"mean": (latent_size,)}

    def posterior(self, latent_size: int) -> dict[str, Shape]:
        return self.outputs(latent_size)

    def shown(self, latent_size: int) -> dict[str, Shape]:
        return self.outputs(latent_size)
