"""Coloured noise: unit variance at each step, like white noise, but correlated over time."""

import numpy as np
import pytest

from dreamserve.planning.coloured_noise import amplitudes, coloured

HORIZONS = (1, 2, 3, 15, 20)


def colouring_matrix(horizon: int, beta: float) -> np.ndarray:
    """Return C (H, H) with which C @ white noise (H,) is the coloured noise."""
    return coloured(np.eye(horizon, dtype=np.float32)[None], amplitudes(horizon, beta))[0]


def neighbours(horizon: int, beta: float) -> float:
    """Return the mean correlation of each step with the next one."""
    colour = colouring_matrix(horizon, beta).astype(np.float64)
    lagged = np.diag(colour @ colour.T, 1)
    np.testing.assert_allclose(lagged, lagged[0], atol=1e-5)
    return float(lagged[0])


@pytest.mark.parametrize("horizon", HORIZONS)
@pytest.mark.parametrize("beta", [0, 0.5, 1, 2, 5])
def test_every_step_has_unit_variance(horizon: int, beta: float) -> None:
    colour = colouring_matrix(horizon, beta)
    assert (colour.shape, colour.dtype) == ((horizon, horizon), np.float32)
    np.testing.assert_allclose(np.square(colour).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("horizon", HORIZONS)
def test_beta_of_zero_is_white(horizon: int) -> None:
    np.testing.assert_allclose(colouring_matrix(horizon, 0), np.eye(horizon), atol=1e-6)


@pytest.mark.parametrize("horizon", [4, 15, 20])  # three steps have only one frequency
def test_correlation_between_steps_grows_with_beta(horizon: int) -> None:
    correlations = [neighbours(horizon, beta) for beta in (0, 0.5, 1, 2, 4)]
    assert correlations[0] == pytest.approx(0, abs=1e-6)
    assert (np.diff(correlations) > 0).all()


def test_power_falls_with_the_frequency_to_the_power_of_beta() -> None:
    spectrum = np.square(np.abs(np.fft.rfft(colouring_matrix(64, 1.5)[:, 0])))[1:]
    waves = np.arange(1, 33)
    np.testing.assert_allclose(spectrum / spectrum[0], waves**-1.5, rtol=1e-3)
