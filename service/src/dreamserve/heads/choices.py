"""Independent choices among K: softmax, its entropy, and draws by inverse CDF, in float64.

Logits are (B, K) for one choice, or (B, K, N) for N of them. All sums are within one row, so a
dream's results do not depend on its batch.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def log_weights(logits: Array) -> Float64:
    """Return the log probabilities, in the logits' shape."""
    wide = logits.astype(np.float64)
    shifted: Float64 = wide - log_sum_exp(wide)[:, None]
    return shifted


def log_sum_exp(values: Float64) -> Float64:
    """Return log-sum-exp over the second axis of (B, K) or (B, K, N)."""
    peak = values.max(axis=1)
    total: Float64 = peak + np.log(np.exp(values - peak[:, None]).sum(axis=1))
    return total


def probabilities(logits: Array) -> Array:
    """Return the probabilities, float32, in the logits' shape; NaN where logits are infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.exp(log_weights(logits)).astype(np.float32)


def entropy(logits: Array) -> Array:
    """Return the choices' mean entropy, (B,), in nats."""
    with np.errstate(invalid="ignore"):
        logs = log_weights(logits)
        weights = np.exp(logs)
        possible = np.where(weights > 0, logs, 0)  # 0 ln 0 is 0
        each = -(weights * possible).sum(axis=1)  # (B,) or (B, N)
    mean: Float64 = each if each.ndim == 1 else each.mean(axis=1)
    return np.abs(mean).astype(np.float32)  # no -0.0


def one_hot(chosen: npt.NDArray[np.int64], classes: int) -> Array:
    """Return the choices (B, N) as flattened one-hot rows (B, N x classes), float32."""
    rows: npt.NDArray[Any] = chosen[..., None] == np.arange(classes)
    return rows.reshape(len(chosen), chosen.shape[1] * classes).astype(np.float32)
