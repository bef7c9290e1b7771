"""The predicted mixture of the next latent (Bishop 1994): parameters and likelihoods, in float64.

All sums are within one row, so a dream's results do not depend on its batch. Shapes are those of
`StepOutput`: logits (B, K) or (B, K, Z), mu (B, K, Z), log_sigma (B, K, Z) or (B, K).
"""

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import Array, StepOutput

Float64 = npt.NDArray[np.float64]


def mixture_of(output: StepOutput, row: int) -> dict[str, Array]:
    """Return the weights, mu and sigma of one row, as `mixtures_of`, without the batch axis."""
    return {name: part[0] for name, part in mixtures_of(output, slice(row, row + 1)).items()}


def mixtures_of(output: StepOutput, rows: slice) -> dict[str, Array]:
    """Return weights, mu and sigma of these rows, float32, at temperature 1, in the head's shapes.

    They may be NaN or infinite: they are not checked.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return {
            "weights": np.exp(log_weights(output.mixture_logits[rows])).astype(np.float32),
            "mu": output.mixture_mu[rows].copy(),
            "sigma": np.exp(output.mixture_log_sigma[rows].astype(np.float64)).astype(np.float32),
        }


def surprise(output: StepOutput, row: int, latent: Array) -> float:
    """Return the negative log-likelihood of `latent` (Z,) in nats per latent dimension."""
    rows = slice(row, row + 1)
    mu = output.mixture_mu[rows].astype(np.float64)  # (1, K, Z)
    log_sigma = wide_log_sigma(output, rows)
    weights = log_weights(output.mixture_logits[rows])
    scaled = (latent - mu) * np.exp(-log_sigma)
    log_normal = -0.5 * scaled**2 - log_sigma - 0.5 * np.log(2 * np.pi)
    if weights.ndim == mu.ndim:
        likelihood = log_sum_exp(weights + log_normal).sum()
    else:
        likelihood = log_sum_exp(weights + log_normal.sum(axis=2))[0]
    return float(-likelihood / mu.shape[2])


def log_weights(logits: Array) -> Float64:
    """Return the log weights of the components at temperature 1."""
    wide = logits.astype(np.float64)
    shifted: Float64 = wide - log_sum_exp(wide)[:, None]
    return shifted


def log_sum_exp(values: Float64) -> Float64:
    """Return log-sum-exp over the components, the second axis of (B, K) or (B, K, Z)."""
    peak = values.max(axis=1)
    total: Float64 = peak + np.log(np.exp(values - peak[:, None]).sum(axis=1))
    return total


def wide_log_sigma(output: StepOutput, rows: slice) -> Float64:
    """Return log sigma of each component in each dimension, (B, K, Z), for any head."""
    log_sigma = output.mixture_log_sigma[rows].astype(np.float64)
    if log_sigma.ndim < output.mixture_mu.ndim:
        log_sigma = np.repeat(log_sigma[:, :, None], output.mixture_mu.shape[2], axis=2)
    return log_sigma
