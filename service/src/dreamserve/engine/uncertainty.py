"""How uncertain a world is of what comes next, from the mixture it expects. All in nats, float64.

Two questions, both at temperature 1, whatever the dream's own is:

- Which component? The entropy of the weights (Shannon 1948), H(w) = -sum_k w_k ln w_k, exact: 0
  where one component is certain, ln K where all are as likely.
- Where in latent space? The mixture's differential entropy. It has no closed form (Huber et al.
  2008, "On entropy approximation for Gaussian mixture random variables"), so it is estimated by
  pairwise distances (Kolchinsky and Tracey 2017, "Estimating mixture entropy with pairwise
  distances", with the Kullback-Leibler divergence of Gaussians):

      h = sum_i w_i h(N_i) - sum_i w_i ln sum_j w_j exp(-KL(N_i || N_j))

  An upper bound, exact where the components are one or lie far apart; no draw is in it, so luck
  and temperature are not either. Per latent dimension, it may be negative: a density is not a
  probability. What /step calls the expected surprise is, on average, this.

A `per_dimension` head has a mixture for each latent dimension, and both are the mean over them.
"""

import numpy as np

from dreamserve.backends.base import Array, StepOutput
from dreamserve.engine.mixture import Float64, log_sum_exp, log_weights, wide_log_sigma

_HALF_LOG_2_PI_E = 0.5 * np.log(2 * np.pi * np.e)
_NUMBERS_AT_ONCE = 32_768  # K x K x Z x rows: so that nobody waits long for the estimate


def rows_at_once(output: StepOutput) -> int:
    """Return of how many rows the estimate is quickly made."""
    _, components, size = output.mixture_mu.shape
    return max(1, _NUMBERS_AT_ONCE // int(components * components * size))


def weights_entropy(output: StepOutput, rows: slice) -> Array:
    """Return how undecided the world is between its components, (B,), of these rows."""
    with np.errstate(invalid="ignore"):
        logs = log_weights(output.mixture_logits[rows])
        weights = np.exp(logs)
        possible = np.where(weights > 0, logs, 0)  # 0 ln 0 is 0
        entropy = -(weights * possible).sum(axis=1)  # (B,) or (B, Z)
    mean: Float64 = entropy if entropy.ndim == 1 else entropy.mean(axis=1)
    return np.abs(mean).astype(np.float32)  # no -0.0


def differential_entropy(output: StepOutput, rows: slice) -> Array:
    """Return how far the next latent is spread, (B,), nats per latent dimension, of these rows."""
    log_sigma = wide_log_sigma(output, rows)
    mu = output.mixture_mu[rows].astype(np.float64)
    joint = output.mixture_logits.ndim < mu.ndim
    own = log_sigma + _HALF_LOG_2_PI_E  # (B, K, Z)
    if joint:
        own = own.sum(axis=2)
    entropy = np.zeros_like(own[:, 0])  # (B,) or (B, Z)
    with np.errstate(over="ignore", invalid="ignore"):
        logs = log_weights(output.mixture_logits[rows])
        for i in range(mu.shape[1]):
            distance = _divergence(mu, log_sigma, i)
            if joint:
                distance = distance.sum(axis=2)
            overlap = log_sum_exp(logs - distance)
            entropy += np.exp(logs[:, i]) * (own[:, i] - overlap)
        per_dimension: Float64 = entropy / mu.shape[2] if joint else entropy.mean(axis=1)
        return per_dimension.astype(np.float32)


def _divergence(mu: Float64, log_sigma: Float64, i: int) -> Float64:
    """Return KL(N_i || N_j) in each dimension, of one component from all j: (B, K, Z)."""
    wider = log_sigma - log_sigma[:, i : i + 1]
    apart = (mu - mu[:, i : i + 1]) * np.exp(-log_sigma)
    divergence: Float64 = 0.5 * (np.exp(-2 * wider) + apart**2 - 1) + wider
    return divergence
