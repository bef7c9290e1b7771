"""The mixture density head (Bishop 1994): K Gaussian components with diagonal covariance.

joint            one mixture over the latent: logits (K,), mu and log_sigma (K, Z)
per_dimension    a mixture for each latent dimension: all three (K, Z)
isotropic        one mixture, with one sigma for each component: (K,), (K, Z), (K,)
"""

from typing import Literal

from pydantic import Field

from dreamserve.heads.base import Head, Shape


class GaussianMixture(Head):
    """A mixture of K Gaussians."""

    kind: Literal["gaussian_mixture"] = "gaussian_mixture"
    form: Literal["joint", "per_dimension", "isotropic"]
    components: int = Field(ge=1, lt=2**31)

    def outputs(self, latent_size: int) -> dict[str, Shape]:
        shapes = self.shown(latent_size).values()
        names = ("mixture_logits", "mixture_mu", "mixture_log_sigma")
        return dict(zip(names, shapes, strict=True))

    def posterior(self, latent_size: int) -> dict[str, Shape]:
        return {"mu": (latent_size,), "logvar": (latent_size,)}

    def shown(self, latent_size: int) -> dict[str, Shape]:
        components, matrix = (self.components,), (self.components, latent_size)
        return {
            "weights": matrix if self.form == "per_dimension" else components,
            "mu": matrix,
            "sigma": components if self.form == "isotropic" else matrix,
        }
