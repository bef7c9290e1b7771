"""Coloured noise: normals whose power falls as 1 / frequency^beta along the horizon.

White noise (beta 0) cancels itself from step to step; the larger beta, the more slowly the noise
changes and the further a sequence of actions moves the state. The method shapes the spectrum in
Fourier space (Timmer and König 1995, On generating power law noise), here as one matrix product.
"""

import numpy as np

from dreamserve.planning.base import Array


def colouring_matrix(horizon: int, beta: float) -> Array:
    """Return C (H, H) float32: C @ white noise (H, …) has that spectrum and variance 1 per step."""
    frequencies = np.fft.rfftfreq(horizon)
    frequencies[0] = 1 / horizon  # the constant part gets the power of the lowest frequency
    amplitudes = frequencies ** (-beta / 2)
    waves = np.fft.rfft(np.eye(horizon), axis=0)
    matrix = np.fft.irfft(amplitudes[:, None] * waves, n=horizon, axis=0)
    matrix /= np.sqrt(np.square(matrix).sum(axis=1, keepdims=True))
    return matrix.astype(np.float32)
