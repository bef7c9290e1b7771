"""Reading the mixture a world answers (Bishop 1994), one row at a time, in float64.

Row by row, so that what one dream is told cannot depend on its batch. Shapes: `StepOutput`'s
without the batch axis; logits (K,) or (K, Z), mu (K, Z), log_sigma (K, Z) or (K,).
"""

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import Array, StepOutput

Float64 = npt.NDArray[np.float64]


def describe(output: StepOutput, row: int) -> dict[str, Array]:
    """Return the weights, mu and sigma that the world expected, at temperature 1."""
    log_weights = _log_softmax(output.mixture_logits[row])
    return {
        "weights": np.exp(log_weights).astype(np.float32),
        "mu": output.mixture_mu[row].copy(),
        "sigma": np.exp(output.mixture_log_sigma[row]),
    }


def surprise(output: StepOutput, row: int, latent: Array) -> float:
    """Return how surprised the world is by `latent` (Z,): its NLL, nats per latent dimension."""
    mu = output.mixture_mu[row].astype(np.float64)  # (K, Z)
    log_sigma = output.mixture_log_sigma[row].astype(np.float64)
    if log_sigma.ndim < mu.ndim:
        log_sigma = np.repeat(log_sigma[:, None], mu.shape[1], axis=1)
    log_weights = _log_softmax(output.mixture_logits[row])
    scaled = (latent - mu) * np.exp(-log_sigma)
    log_normal = -0.5 * scaled**2 - log_sigma - 0.5 * np.log(2 * np.pi)
    if log_weights.ndim == mu.ndim:
        likelihood = _log_sum_exp(log_weights + log_normal).sum()
    else:
        likelihood = _log_sum_exp(log_weights + log_normal.sum(axis=1))
    return float(-likelihood / mu.shape[1])


def _log_softmax(logits: Array) -> Float64:
    wide = logits.astype(np.float64)
    shifted: Float64 = wide - _log_sum_exp(wide)
    return shifted


def _log_sum_exp(values: Float64) -> Float64:
    """Over the first axis."""
    peak = values.max(axis=0)
    total: Float64 = peak + np.log(np.exp(values - peak).sum(axis=0))
    return total
