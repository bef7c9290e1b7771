"""A Gaussian mixture: known entropies, likelihoods and moments, for all three forms."""

from typing import Any

import numpy as np
import pytest

from dreamserve.heads import GaussianMixture
from dreamserve.heads.base import Array, Outputs
from dreamserve.heads.choices import entropy as entropy_of
from dreamserve.heads.mixture_entropy import differential_entropy, entropy_bounds

HEADS = ("joint", "per_dimension", "isotropic")
K, Z = 3, 4
HEAD = GaussianMixture(form="joint", components=K)  # forms differ by their outputs' shapes


def output(logits: Any, mu: Any, log_sigma: Any) -> Outputs:
    return tuple(np.asarray(part, np.float32) for part in (logits, mu, log_sigma))


def weights_entropy(made: Outputs) -> Array:
    return entropy_of(HEAD.logits(made))


def shapes(head: str, rows: int, components: int = K) -> tuple[tuple[int, ...], ...]:
    column, matrix = (rows, components), (rows, components, Z)
    logits = matrix if head == "per_dimension" else column
    return logits, matrix, column if head == "isotropic" else matrix


def random_output(head: str, rows: int = 40, apart: float = 2.0) -> Outputs:
    rng = np.random.default_rng(HEADS.index(head))
    logits, mu, log_sigma = (rng.standard_normal(shape) for shape in shapes(head, rows))
    return output(logits, apart * mu, 0.5 * log_sigma - 1)


@pytest.mark.parametrize("head", HEADS)
def test_a_certain_component_has_entropy_0_and_equal_ones_have_ln_k(head: str) -> None:
    logits, mu, log_sigma = (np.zeros(shape) for shape in shapes(head, 2))
    logits[0, 1] = 200
    entropy = weights_entropy(output(logits, mu, log_sigma))
    assert entropy[0] == 0
    assert not np.signbit(entropy[0])
    assert entropy[1] == pytest.approx(np.log(K), rel=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_the_weights_sum_to_one_and_have_the_reported_entropy(head: str) -> None:
    made = random_output(head)
    weights = HEAD.parameters(made)["weights"].astype(np.float64)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    entropy = -(weights * np.log(weights)).sum(axis=1)
    expected = entropy.mean(axis=1) if head == "per_dimension" else entropy
    np.testing.assert_allclose(weights_entropy(made), expected, rtol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_identical_components_have_the_entropy_of_a_gaussian(head: str) -> None:
    rng = np.random.default_rng(1)
    logits, mu, log_sigma = (rng.standard_normal(shape) for shape in shapes(head, 5))
    mu[:], log_sigma[:] = mu[:, :1], log_sigma[:, :1]
    wide = log_sigma[:, 0].reshape(5, -1).mean(axis=1)
    expected = 0.5 * np.log(2 * np.pi * np.e) + wide
    made = output(logits, mu, log_sigma)
    np.testing.assert_allclose(differential_entropy(*made), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_components_far_apart_add_the_entropy_of_their_weights(head: str) -> None:
    logits, mu, log_sigma = (np.zeros(shape) for shape in shapes(head, 1))
    mu[0] = 1000 * np.arange(K)[:, None]
    added = np.log(K) if head == "per_dimension" else np.log(K) / Z
    expected = 0.5 * np.log(2 * np.pi * np.e) + added
    spread = differential_entropy(*output(logits, mu, log_sigma))
    assert spread[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("apart", [0.3, 2.0])
def test_the_mean_surprise_of_samples_lies_between_the_bounds_and_so_does_the_estimate(
    head: str, apart: float
) -> None:
    made = random_output(head, rows=1, apart=apart)
    rng = np.random.default_rng(2)
    parts = {name: part[0].astype(np.float64) for name, part in HEAD.parameters(made).items()}
    weights = np.broadcast_to(parts["weights"].reshape(K, -1), (K, Z))
    sigma = np.broadcast_to(parts["sigma"].reshape(K, -1), (K, Z))
    draws = []
    for _ in range(3000):
        one = int(rng.choice(K, p=weights[:, 0] / weights[:, 0].sum()))
        picks = [int(rng.choice(K, p=w / w.sum())) for w in weights.T]
        pick = picks if head == "per_dimension" else [one] * Z
        mean, spread = parts["mu"][pick, np.arange(Z)], sigma[pick, np.arange(Z)]
        draws.append(HEAD.surprise(made, mean + spread * rng.standard_normal(Z)))
    sure = 4 * np.std(draws) / np.sqrt(len(draws))
    (least,), (most,) = entropy_bounds(*made)
    assert least - sure < np.mean(draws) < most + sure
    assert least < differential_entropy(*made)[0] < most


@pytest.mark.parametrize("head", HEADS)
def test_a_row_alone_has_the_same_numbers_to_the_bit_as_among_others(head: str) -> None:
    made = random_output(head)
    for row in (0, 7, 39):
        alone = tuple(part[row : row + 1] for part in made)
        for found in (weights_entropy, HEAD.differential_entropy):
            assert found(alone)[0] == found(made)[row]
        for name, part in HEAD.parameters(made).items():
            np.testing.assert_array_equal(HEAD.parameters(alone)[name][0], part[row])


def test_an_impossible_component_does_not_count() -> None:
    logits = np.array([[0.0, -np.inf], [0.0, -1e30]])
    mu, log_sigma = np.zeros((2, 2, Z)), np.zeros((2, 2, Z))
    mu[:, 1] = 50
    made = output(logits, mu, log_sigma)
    assert weights_entropy(made).tolist() == [0, 0]
    expected = 0.5 * np.log(2 * np.pi * np.e)
    np.testing.assert_allclose(differential_entropy(*made), expected, rtol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_the_moments_are_those_of_draws(head: str) -> None:
    made = random_output(head, rows=1)
    rng, rows = np.random.default_rng(5), 20_000
    parts = HEAD.parameters(made)
    weights = np.broadcast_to(parts["weights"][0].reshape(K, -1), (K, Z)).astype(np.float64)
    sigma = np.broadcast_to(parts["sigma"][0].reshape(K, -1), (K, Z))
    # One mixture or Z of them: the moments of each number are the same.
    picks = np.stack([rng.choice(K, rows, p=w / w.sum()) for w in weights.T], axis=1)
    spread = sigma[picks, np.arange(Z)] * rng.standard_normal((rows, Z))
    draws = parts["mu"][0][picks, np.arange(Z)] + spread
    mean, variance = HEAD.moments(made)
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.08)
    np.testing.assert_allclose(draws.var(axis=0), variance, rtol=0.1)
