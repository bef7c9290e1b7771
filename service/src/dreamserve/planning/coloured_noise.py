"""Coloured noise: normals whose power falls as 1 / frequency^beta along the horizon.

White noise (beta 0) cancels itself from step to step; the larger beta, the more slowly the noise
changes and the further a sequence of actions moves the state. The method shapes the spectrum in
Fourier space (Timmer and König 1995, On generating power law noise), in H log H operations.
"""

import numpy as np

from dreamserve.planning.base import Array


def amplitudes(horizon: int, beta: float) -> Array:
    """Return the amplitude (H // 2 + 1,) float32 of each frequency, for variance 1 at each step."""
    frequencies = np.fft.rfftfreq(horizon)
    frequencies[0] = 1 / horizon  # the constant part gets the power of the lowest frequency
    power = frequencies**-beta
    # All frequencies but the first and, if H is even, the last stand for two of the H.
    total = 2 * power.sum() - power[0] - (power[-1] if horizon % 2 == 0 else 0)
    scaled: Array = np.sqrt(power / (total / horizon)).astype(np.float32)
    return scaled


def coloured(white: Array, amplitude: Array) -> Array:
    """Return white noise (N, H, A) with these amplitudes along H, float32."""
    spectrum = np.fft.rfft(white, axis=1)
    spectrum *= amplitude[:, None]
    shaped: Array = np.fft.irfft(spectrum, n=white.shape[1], axis=1).astype(np.float32, copy=False)
    return shaped
