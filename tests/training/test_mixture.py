"""The mixture density head against scipy, and its sampling against its own moments."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import norm

from dreamserve_training.models.mixture import (
    LOG_SIGMA_MAX,
    LOG_SIGMA_MIN,
    Mixture,
    bound_log_sigma,
    head_size,
    mdn_loss_function,
    mixture_log_prob,
    sample_from_mdn,
    sample_with_noise,
    split_parameters,
)

HEADS = ("joint", "per_dimension", "isotropic")
K, Z = 5, 6


def mixture_of(head, batch=7, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    size = head_size(head, K, Z)
    parameters = scale * torch.randn(batch, size, generator=generator, dtype=torch.float32)
    return split_parameters(parameters, head, K, Z)


def scipy_log_prob(mixture, target):
    logits, mu, log_sigma = (part.double().numpy() for part in mixture)
    if log_sigma.ndim < mu.ndim:
        log_sigma = log_sigma[..., None]
    density = norm.logpdf(target.double().numpy()[..., None, :], mu, np.exp(log_sigma))
    if logits.ndim == mu.ndim:
        return logsumexp(log_softmax(logits, axis=-2) + density, axis=-2).sum(-1)
    return logsumexp(log_softmax(logits, axis=-1) + density.sum(-1), axis=-1)


@pytest.mark.parametrize("head", HEADS)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 5.0))
def test_the_likelihood_agrees_with_scipy_in_float64(head, seed, scale):
    mixture = mixture_of(head, seed=seed, scale=scale)
    target = torch.randn(7, Z, generator=torch.Generator().manual_seed(seed + 1))
    wide = Mixture(*(part.double() for part in mixture))
    reference = scipy_log_prob(mixture, target)
    np.testing.assert_allclose(mixture_log_prob(wide, target.double()), reference, rtol=1e-6)
    # float32 loses a little where residuals are many sigmas, but never more than a part in 10^5
    np.testing.assert_allclose(mixture_log_prob(mixture, target), reference, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_the_loss_is_the_mean_nll_per_dimension_over_valid_steps_only(head):
    mixture, target = mixture_of(head), torch.randn(7, Z)
    mask = torch.tensor([True, False, True, True, False, True, True])
    target[~mask] = torch.nan  # padding may hold anything
    expected = -scipy_log_prob(mixture, target)[mask.numpy()].mean() / Z
    assert float(mdn_loss_function(mixture, target, mask)) == pytest.approx(expected, rel=1e-6)


def test_a_batch_without_a_valid_step_has_zero_loss_and_no_gradient():
    mu = torch.zeros(3, K, Z, requires_grad=True)
    mixture = Mixture(torch.zeros(3, K), mu, torch.zeros(3, K, Z))
    loss = mdn_loss_function(mixture, torch.zeros(3, Z), torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not mu.grad.any()


def moments(mixture, temperature):
    """Return mean and variance of each dimension of a mixture, by the paper's rule, in float64."""
    logits, mu, log_sigma = (part[0].double().numpy() for part in mixture)
    weights = softmax(logits / temperature, axis=0)
    if weights.ndim == 1:
        weights = weights[:, None]
    sigma2 = np.exp(2 * (log_sigma if log_sigma.ndim == 2 else log_sigma[:, None])) * temperature
    mean = (weights * mu).sum(0)
    return mean, (weights * (sigma2 + mu**2)).sum(0) - mean**2


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.15])
def test_samples_have_the_mixtures_own_moments(head, temperature):
    mixture, draws = mixture_of(head, batch=1, seed=3), 200_000
    wide = Mixture(*(part.expand(draws, *part.shape[1:]) for part in mixture))
    samples = sample_from_mdn(wide, temperature, generator=torch.Generator().manual_seed(1))
    mean, variance = moments(mixture, temperature)
    error = np.sqrt(variance / draws)
    assert (np.abs(samples.double().numpy().mean(0) - mean) < 5 * error).all()
    np.testing.assert_allclose(samples.double().numpy().var(0), variance, rtol=0.03)


def most_likely_mean(mixture):
    logits, mu = mixture.logits, mixture.mu
    best = logits.argmax(-2 if mixture.per_dimension else -1)
    if mixture.per_dimension:
        return mu.gather(-2, best.unsqueeze(-2)).squeeze(-2)
    return mu[torch.arange(len(mu)), best]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rule", ["paper", "weights_only"])
def test_temperature_zero_is_the_most_likely_components_mean(head, rule):
    mixture = mixture_of(head)
    expected = most_likely_mean(mixture)
    assert torch.equal(sample_from_mdn(mixture, 0.0, rule), expected)
    assert torch.equal(sample_from_mdn(mixture, 1.0, rule, deterministic=True), expected)


@pytest.mark.parametrize("head", HEADS)
def test_under_the_papers_rule_a_tiny_temperature_approaches_that_limit(head):
    mixture = mixture_of(head)
    near = sample_from_mdn(mixture, 1e-10, "paper")
    torch.testing.assert_close(near, most_likely_mean(mixture), atol=1e-3, rtol=0)


@pytest.mark.parametrize("head", HEADS)
def test_weights_only_leaves_sigma_as_it_is(head):
    mixture = mixture_of(head, batch=1)
    draws = 50_000
    wide = Mixture(*(part.expand(draws, *part.shape[1:]) for part in mixture))
    cold = sample_from_mdn(wide, 1e-6, "weights_only", generator=torch.Generator().manual_seed(0))
    log_sigma = mixture.log_sigma
    best = mixture.logits.argmax(-2 if mixture.per_dimension else -1)
    if head == "per_dimension":
        expected = log_sigma.gather(-2, best.unsqueeze(-2)).squeeze(-2)[0].exp()
    else:
        expected = log_sigma[0, best[0]].exp().expand(Z)
    torch.testing.assert_close(cold.std(0), expected, rtol=0.03, atol=0)


@pytest.mark.parametrize("head", HEADS)
def test_at_high_temperatures_every_component_is_equally_likely(head):
    mixture = mixture_of(head, batch=1)
    mixture = mixture._replace(log_sigma=torch.full_like(mixture.log_sigma, LOG_SIGMA_MIN))
    draws = 50_000
    wide = Mixture(*(part.expand(draws, *part.shape[1:]) for part in mixture))
    hot = sample_from_mdn(wide, 1e9, "weights_only", generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(hot.mean(0), mixture.mu[0].mean(0), atol=0.05, rtol=0)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_temperature_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError, match="temperature"):
        sample_from_mdn(mixture_of("joint"), bad)


@given(u=st.floats(2**-25, 1 - 2**-25), logits=st.lists(st.floats(-80, 80), min_size=K, max_size=K))
def test_every_uniform_number_picks_a_component_and_stays_finite(u, logits):
    mixture = Mixture(
        torch.tensor([logits]), torch.arange(K * Z).reshape(1, K, Z).float(), torch.zeros(1, K, Z)
    )
    for temperature in (0.0, 1e-30, 1.0, 1e30):
        drawn = sample_with_noise(
            mixture, torch.tensor([temperature]), torch.zeros(1, Z), torch.tensor([[u]])
        )
        assert any(torch.equal(drawn[0], mean) for mean in mixture.mu[0])


@given(st.floats(-1e30, 1e30))
def test_log_sigma_stays_within_its_bounds(raw):
    bounded = float(bound_log_sigma(torch.tensor(raw)))
    assert LOG_SIGMA_MIN <= bounded <= LOG_SIGMA_MAX


def test_an_unknown_head_is_refused_by_name():
    with pytest.raises(ValueError, match="per_dimension"):
        head_size("diagonal", K, Z)


def test_a_target_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        mdn_loss_function(mixture_of("joint"), torch.zeros(7, Z + 1))
