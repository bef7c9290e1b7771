"""Coloured noise: normals whose power falls as 1 / frequency^beta along the horizon.

White noise (beta 0) takes back at one step what it did at the last; the greater beta, the more
slowly the noise changes and the further a sequence of actions leads. It is made in Fourier space
(Timmer and König 1995, On generating power law noise); here that is folded into one matrix.
"""

import numpy as np

from dreamserve.planning.base import Array


def colouring(horizon: int, beta: float) -> Array:
    """Return C (H, H) float32: C @ white (H, …) has that spectrum, and variance 1 at each step."""
    frequencies = np.fft.rfftfreq(horizon)
    frequencies[0] = 1 / horizon  # what stays constant is as strong as the slowest wave
    amplitudes = frequencies ** (-beta / 2)
    waves = np.fft.rfft(np.eye(horizon), axis=0)
    colour = np.fft.irfft(amplitudes[:, None] * waves, n=horizon, axis=0)
    colour /= np.sqrt(np.square(colour).sum(axis=1, keepdims=True))
    return colour.astype(np.float32)
