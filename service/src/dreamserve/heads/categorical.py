"""Categorical latents (DreamerV2, Hafner et al. 2021): groups of one-hot vectors, flattened."""

from typing import Literal

from pydantic import Field

from dreamserve.heads.base import Head, Shape


class Categorical(Head):
    """`groups` independent choices of one of `classes`; Z = groups x classes."""

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
