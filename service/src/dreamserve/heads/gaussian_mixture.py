"""The mixture density head (Bishop 1994): K Gaussian components with diagonal covariance.

joint            one mixture over the latent: logits (K,), mu and log_sigma (K, Z)
per_dimension    a mixture for each latent dimension: all three (K, Z)
isotropic        one mixture, with one sigma for each component: (K,), (K, Z), (K,)
"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from dreamserve import noise
from dreamserve.heads.base import Array, Float64, Head, Int64, Outputs, Prepared, Shape, UInt64
from dreamserve.heads.choices import log_sum_exp, log_weights, probabilities
from dreamserve.heads.mixture_entropy import differential_entropy, wide

_FARTHEST = noise.NORMAL_QUANTILES.max()  # of any draw from its mean, in sigmas
_ROWS_AT_ONCE = 4096


class GaussianMixture(Head):
    """A mixture of K Gaussians. Surprise is the negative log-likelihood, in nats per dimension."""

    has_density: ClassVar[bool] = True

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

    def __str__(self) -> str:
        return f"Gaussian mixture, {self.form}, K = {self.components}"

    @property
    def choices(self) -> int:
        return self.components

    def parameters(self, outputs: Outputs) -> dict[str, Array]:
        logits, mu, log_sigma = outputs
        with np.errstate(over="ignore", invalid="ignore"):
            return {
                "weights": probabilities(logits),
                "mu": mu.copy(),
                "sigma": np.exp(log_sigma.astype(np.float64)).astype(np.float32),
            }

    def logits(self, outputs: Outputs) -> Array:
        return outputs[0]

    def chosen(self, outputs: Outputs, order: Int64) -> Array:
        mu = outputs[1][0]
        return mu[order] if order.ndim == 1 else np.take_along_axis(mu, order, axis=0)

    def moments(self, outputs: Outputs) -> tuple[Float64, Float64]:
        weights = np.exp(log_weights(outputs[0][:1]))[0]  # (K,) or (K, Z)
        weights = weights[:, None] if weights.ndim == 1 else weights
        mu = outputs[1][:1].astype(np.float64)
        variances = np.exp(2 * wide(outputs[2][:1], mu))[0]
        mean: Float64 = (weights * mu[0]).sum(axis=0)
        return mean, (weights * (variances + np.square(mu[0] - mean))).sum(axis=0)

    def surprise(self, outputs: Outputs, latent: Array) -> float:
        weights, mu = log_weights(outputs[0][:1]), outputs[1][:1].astype(np.float64)
        log_sigma = wide(outputs[2][:1], mu)  # (1, K, Z)
        with np.errstate(over="ignore", invalid="ignore"):  # of sigmas that are next to 0
            scaled = (latent - mu) * np.exp(-log_sigma)
            log_normal = -0.5 * scaled**2 - log_sigma - 0.5 * np.log(2 * np.pi)
            if weights.ndim == mu.ndim:
                likelihood = log_sum_exp(weights + log_normal).sum()
            else:
                likelihood = log_sum_exp(weights + log_normal.sum(axis=2))[0]
        return float(-likelihood / mu.shape[2])

    def differential_entropy(self, outputs: Outputs) -> Array:
        return differential_entropy(*outputs)

    def entropy_size(self, latent_size: int) -> int:
        return self.components * self.components * latent_size

    def mode(self, posterior: Outputs) -> Array:
        return posterior[0]

    def prepared(self, posterior: Outputs) -> Prepared:
        mu, logvar = posterior
        sigma = np.float32(0.5) * logvar
        with np.errstate(over="ignore", invalid="ignore"):  # of observations; a bank is checked
            return mu, np.exp(sigma, out=sigma)

    def overflows(self, posterior: Outputs) -> int | None:
        for first in range(0, len(posterior[0]), _ROWS_AT_ONCE):
            mu, logvar = (part[first : first + _ROWS_AT_ONCE] for part in posterior)
            with np.errstate(over="ignore", invalid="ignore"):
                farthest = np.abs(mu) + np.exp(np.float32(0.5) * logvar) * _FARTHEST
            if not (finite := np.isfinite(farthest).all(axis=1)).all():
                return first + int(finite.argmin())
        return None

    def draw(self, prepared: Prepared, keys: UInt64) -> Array:
        mu, sigma = prepared
        with np.errstate(over="ignore", invalid="ignore"):
            drawn: Array = mu + sigma * noise.draw(keys, mu.shape[1], 0)
        return drawn
