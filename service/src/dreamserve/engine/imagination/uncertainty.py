"""Entropies of the predicted mixture, in nats, float64.

Both are at temperature 1, whatever the dream's temperature is:

- The entropy of the weights (Shannon 1948), H(w) = -sum_k w_k ln w_k, exact: 0 if one component
  has all the weight, ln K if all weights are equal.
- The differential entropy of the mixture. It has no closed form (Huber et al.
  2008, "On entropy approximation for Gaussian mixture random variables"), but bounds by pairwise
  distances (Kolchinsky and Tracey 2017, "Estimating mixture entropy with pairwise distances"):

      h_D = sum_i w_i h(N_i) - sum_i w_i ln sum_j w_j exp(-D(N_i, N_j))

  is an upper bound with the Kullback-Leibler divergence as D and a lower bound with the
  Bhattacharyya distance; both are exact where components are equal or far apart. The result is
  their midpoint per latent dimension, which needs no sampling. It may be negative. The expected
  surprise of /step estimates the same quantity, on average at temperature 1.

A `per_dimension` head has a mixture for each latent dimension, and both are the mean over them.
"""

import numpy as np

from dreamserve.backends.base import Array, StepOutput
from dreamserve.engine.mixture import Float64, log_sum_exp, log_weights, wide_log_sigma

_HALF_LOG_2_PI_E = 0.5 * np.log(2 * np.pi * np.e)
_NUMBERS_AT_ONCE = 16_384  # K x K x Z x rows: bounds the time of one estimate


def rows_at_once(output: StepOutput) -> int:
    """Return the number of rows that one estimate may have."""
    _, components, size = output.mixture_mu.shape
    return max(1, _NUMBERS_AT_ONCE // int(components * components * size))


def weights_entropy(output: StepOutput, rows: slice) -> Array:
    """Return the entropy of the components' weights, (B,), of these rows."""
    with np.errstate(invalid="ignore"):
        logs = log_weights(output.mixture_logits[rows])
        weights = np.exp(logs)
        possible = np.where(weights > 0, logs, 0)  # 0 ln 0 is 0
        entropy = -(weights * possible).sum(axis=1)  # (B,) or (B, Z)
    mean: Float64 = entropy if entropy.ndim == 1 else entropy.mean(axis=1)
    return np.abs(mean).astype(np.float32)  # no -0.0


def differential_entropy(output: StepOutput, rows: slice) -> Array:
    """Return the mixture's differential entropy, (B,), in nats per latent dimension, of `rows`."""
    least, most = entropy_bounds(output, rows)
    with np.errstate(over="ignore", invalid="ignore"):
        middle: Float64 = (least + most) / 2
        return middle.astype(np.float32)


def entropy_bounds(output: StepOutput, rows: slice) -> tuple[Float64, Float64]:
    """Return the bounds of the mixture's differential entropy, (B,) each: lower, upper."""
    log_sigma = wide_log_sigma(output, rows)
    mu = output.mixture_mu[rows].astype(np.float64)  # (B, K, Z)
    joint = output.mixture_logits.ndim < mu.ndim

    def over_latent(parts: Float64) -> Float64:
        """Return sums over the dimensions (B, K) for a joint mixture, else `parts` (B, K, Z)."""
        return np.asarray(parts.sum(axis=2)) if joint else parts

    with np.errstate(over="ignore", invalid="ignore"):
        logs = log_weights(output.mixture_logits[rows])
        own = over_latent(log_sigma + _HALF_LOG_2_PI_E)
        least, most = np.zeros_like(own[:, 0]), np.zeros_like(own[:, 0])  # (B,) or (B, Z)
        for i in range(mu.shape[1]):
            weight = np.exp(logs[:, i])
            near, far = map(over_latent, _distances(mu, log_sigma, i))
            least += weight * (own[:, i] - log_sum_exp(logs - near))
            most += weight * (own[:, i] - log_sum_exp(logs - far))
        if joint:
            return least / mu.shape[2], most / mu.shape[2]
        return least.mean(axis=1), most.mean(axis=1)


def _distances(mu: Float64, log_sigma: Float64, i: int) -> tuple[Float64, Float64]:
    """Return the Bhattacharyya distance and KL(N_i || N_j) of component i to each j, (B, K, Z)."""
    log_ratio = log_sigma - log_sigma[:, i : i + 1]
    ratio = np.exp(-2 * log_ratio)  # the variance of i in units of that of j
    squared = ((mu - mu[:, i : i + 1]) * np.exp(-log_sigma)) ** 2
    near: Float64 = 0.25 * squared / (1 + ratio) + 0.5 * (np.log((1 + ratio) / 2) + log_ratio)
    far: Float64 = 0.5 * (ratio + squared - 1) + log_ratio
    return near, far
