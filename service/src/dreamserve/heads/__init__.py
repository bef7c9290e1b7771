"""Latent heads: what a step predicts of the next latent, one module for each kind.

A head knows the arrays that describe its distribution, as `step` and `encode` return them, and all
that depends on its kind. Another head is a module here and an entry of `LatentHead`.
"""

from typing import Annotated

from pydantic import Field

from dreamserve.heads.base import Head
from dreamserve.heads.categorical import Categorical
from dreamserve.heads.deterministic import Deterministic
from dreamserve.heads.gaussian_mixture import GaussianMixture

LatentHead = Annotated[GaussianMixture | Categorical | Deterministic, Field(discriminator="kind")]

__all__ = ["Categorical", "Deterministic", "GaussianMixture", "Head", "LatentHead"]
