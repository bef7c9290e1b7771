"""The differential entropy of a Gaussian mixture, in nats, float64, at temperature 1.

It has no closed form (Huber et al. 2008, "On entropy approximation for Gaussian mixture random
variables"), but bounds by pairwise distances (Kolchinsky and Tracey 2017, "Estimating mixture
entropy with pairwise distances"):

    h_D = sum_i w_i h(N_i) - sum_i w_i ln sum_j w_j exp(-D(N_i, N_j))

is an upper bound with the Kullback-Leibler divergence as D and a lower bound with the Bhattacharyya
distance; both are exact where components are equal or far apart. The result is their midpoint per
latent dimension, which needs no sampling. It may be negative. The expected surprise of /step
estimates the same quantity, on average at temperature 1. A `per_dimension` mixture has one for
each latent dimension, and the result is the mean over them.

Shapes are those of the head's outputs: logits (B, K) or (B, K, Z), mu (B, K, Z), log_sigma
(B, K, Z) or (B, K).
"""

import numpy as np
import numpy.typing as npt

from dreamserve.heads.base import Array, Float64
from dreamserve.heads.choices import log_sum_exp, log_weights

_HALF_LOG_2_PI_E = 0.5 * np.log(2 * np.pi * np.e)


def differential_entropy(logits: Array, mu: Array, log_sigma: Array) -> Array:
    """Return the mixture's differential entropy, (B,), in nats per latent dimension."""
    least, most = entropy_bounds(logits, mu, log_sigma)
    with np.errstate(over="ignore", invalid="ignore"):
        middle: Float64 = (least + most) / 2
        return middle.astype(np.float32)


def entropy_bounds(logits: Array, mu: Array, log_sigma: Array) -> tuple[Float64, Float64]:
    """Return the bounds of the mixture's differential entropy, (B,) each: lower, upper."""
    joint = logits.ndim < mu.ndim
    wide_mu, wide_log_sigma = mu.astype(np.float64), wide(log_sigma, mu)  # (B, K, Z)

    def over_latent(parts: Float64) -> Float64:
        """Return sums over the dimensions (B, K) for a joint mixture, else `parts` (B, K, Z)."""
        return np.asarray(parts.sum(axis=2)) if joint else parts

    with np.errstate(over="ignore", invalid="ignore"):
        logs = log_weights(logits)
        own = over_latent(wide_log_sigma + _HALF_LOG_2_PI_E)
        least, most = np.zeros_like(own[:, 0]), np.zeros_like(own[:, 0])  # (B,) or (B, Z)
        for i in range(mu.shape[1]):
            weight = np.exp(logs[:, i])
            near, far = map(over_latent, _distances(wide_mu, wide_log_sigma, i))
            least += weight * (own[:, i] - log_sum_exp(logs - near))
            most += weight * (own[:, i] - log_sum_exp(logs - far))
        if joint:
            return least / mu.shape[2], most / mu.shape[2]
        return least.mean(axis=1), most.mean(axis=1)


def wide(log_sigma: Array, mu: npt.NDArray[np.floating]) -> Float64:
    """Return log sigma of each component in each dimension, (B, K, Z), for any form."""
    each = log_sigma.astype(np.float64)
    return np.repeat(each[:, :, None], mu.shape[2], axis=2) if each.ndim < mu.ndim else each


def _distances(mu: Float64, log_sigma: Float64, i: int) -> tuple[Float64, Float64]:
    """Return the Bhattacharyya distance and KL(N_i || N_j) of component i to each j, (B, K, Z)."""
    log_ratio = log_sigma - log_sigma[:, i : i + 1]
    ratio = np.exp(-2 * log_ratio)  # the variance of i in units of that of j
    squared = ((mu - mu[:, i : i + 1]) * np.exp(-log_sigma)) ** 2
    near: Float64 = 0.25 * squared / (1 + ratio) + 0.5 * (np.log((1 + ratio) / 2) + log_ratio)
    far: Float64 = 0.5 * (ratio + squared - 1) + log_ratio
    return near, far
