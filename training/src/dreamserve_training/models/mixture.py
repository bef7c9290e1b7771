"""The mixture density head (Bishop 1994): parameters, likelihood, sampling, for three heads.

Shapes, with any leading axes (…), K components, Z latent dimensions:

    head            logits      mu          log_sigma   parameters
    joint           (…, K)      (…, K, Z)   (…, K, Z)   K·(2Z + 1)   one mixture of the vector
    per_dimension   (…, K, Z)   (…, K, Z)   (…, K, Z)   3·K·Z        one mixture per dimension
    isotropic       (…, K)      (…, K, Z)   (…, K)      K·(Z + 2)    one sigma per component
"""

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional

from dreamserve_training.models.terms import masked

Head = Literal["joint", "per_dimension", "isotropic"]
TemperatureRule = Literal["paper", "weights_only"]

# Bounds of log sigma. They keep sigma from collapsing, which is a common cause of NaN. They are
# smooth, because a hard clip would have zero gradient.
LOG_SIGMA_MIN, LOG_SIGMA_MAX = -6.0, 2.0
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_TINY_TEMPERATURE = 1e-30  # so small that T = 0 gives one-hot weights


class Mixture(NamedTuple):
    """A mixture of Gaussians; shapes as in the module's docstring."""

    logits: Tensor
    mu: Tensor
    log_sigma: Tensor

    @property
    def per_dimension(self) -> bool:
        """Whether each latent dimension has a mixture of its own."""
        return self.logits.ndim == self.mu.ndim


def head_size(head: Head, components: int, z_dim: int) -> int:
    """Return the number of parameters of one mixture; ValueError for an unknown head."""
    if head not in get_args(Head):
        raise ValueError(f"head must be one of {get_args(Head)}, not {head!r}")
    joint, isotropic = components * (2 * z_dim + 1), components * (z_dim + 2)
    return {"joint": joint, "per_dimension": 3 * components * z_dim, "isotropic": isotropic}[head]


def split_parameters(parameters: Tensor, head: Head, components: int, z_dim: int) -> Mixture:
    """Return `parameters` (…, head_size) as a mixture."""
    k, kz = components, components * z_dim
    sizes = {
        "joint": [k, kz, kz],
        "per_dimension": [kz, kz, kz],
        "isotropic": [k, kz, k],
    }[head]
    logits, mu, raw = torch.split(parameters, sizes, dim=-1)
    matrix = (*parameters.shape[:-1], components, z_dim)
    if head == "per_dimension":
        logits = logits.reshape(matrix)
    if head != "isotropic":
        raw = raw.reshape(matrix)
    return Mixture(logits, mu.reshape(matrix), bound_log_sigma(raw))


def bound_log_sigma(raw: Tensor) -> Tensor:
    """Map real numbers smoothly to (LOG_SIGMA_MIN, LOG_SIGMA_MAX); near the middle, identity."""
    middle, half = (LOG_SIGMA_MAX + LOG_SIGMA_MIN) / 2, (LOG_SIGMA_MAX - LOG_SIGMA_MIN) / 2
    return middle + half * torch.tanh((raw - middle) / half)


def mixture_log_prob(mixture: Mixture, target: Tensor) -> Tensor:
    """Return log p(target) (…) in nats of `target` (…, Z), computed by log-sum-exp."""
    log_sigma = mixture.log_sigma
    if log_sigma.ndim < mixture.mu.ndim:  # isotropic
        log_sigma = log_sigma.unsqueeze(-1)
    scaled = (target.unsqueeze(-2) - mixture.mu) * torch.exp(-log_sigma)
    log_normal = -0.5 * scaled.square() - log_sigma - _LOG_SQRT_2PI  # (…, K, Z)
    if mixture.per_dimension:
        log_weights = functional.log_softmax(mixture.logits, dim=-2)
        return torch.logsumexp(log_weights + log_normal, dim=-2).sum(-1)
    log_weights = functional.log_softmax(mixture.logits, dim=-1)
    return torch.logsumexp(log_weights + log_normal.sum(-1), dim=-1)


def mdn_loss_function(mixture: Mixture, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the negative log-likelihood in nats per latent dimension, a scalar.

    It is the mean over the steps where `mask` (…) is true (default: all), in float32 or wider even
    under autocast. Without a true step, loss and gradient are 0. The loss can be negative, because
    a density can exceed 1. Raises ValueError if `target` (…, Z) does not fit the mixture.
    """
    nll = mixture_nll(mixture, target)
    return nll.mean() if mask is None else masked(nll, mask).mean


def mixture_nll(mixture: Mixture, target: Tensor) -> Tensor:
    """Return the negative log-likelihood (…) per latent dimension; see `mdn_loss_function`."""
    if target.shape != mixture.mu.shape[:-2] + mixture.mu.shape[-1:]:
        raise ValueError(f"target {tuple(target.shape)} does not fit {tuple(mixture.mu.shape)}")
    wide = target.dtype if target.dtype == torch.float64 else torch.float32
    mixture = Mixture(*(part.to(wide) for part in mixture))
    return -mixture_log_prob(mixture, target.to(wide)) / target.shape[-1]


def sample_from_mdn(
    mixture: Mixture,
    temperature: float | Tensor = 1.0,
    rule: TemperatureRule = "paper",
    deterministic: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return one draw (…, Z) from `mixture` at `temperature` (a number, or shape (…)).

    `paper` divides the logits by T and multiplies sigma by sqrt(T); `weights_only` only divides
    the logits. `deterministic` equals T = 0: the mean of the most likely component.
    Raises ValueError for a negative or non-finite temperature.
    """
    t = torch.as_tensor(0.0 if deterministic else temperature, dtype=mixture.mu.dtype)
    if not bool(torch.isfinite(t).all()) or bool((t < 0).any()):
        raise ValueError(f"temperature must be finite and not negative, not {temperature}")
    leading = mixture.mu.shape[:-2]
    z_dim = mixture.mu.shape[-1]
    uniforms = z_dim if mixture.per_dimension else 1
    normal = torch.randn(*leading, z_dim, generator=generator, dtype=mixture.mu.dtype)
    uniform = torch.rand(*leading, uniforms, generator=generator, dtype=mixture.mu.dtype)
    device = mixture.mu.device
    return sample_with_noise(
        mixture, t.to(device).expand(leading), normal.to(device), uniform.to(device), rule
    )


def sample_with_noise(
    mixture: Mixture,
    temperature: Tensor,
    normal: Tensor,
    uniform: Tensor,
    rule: TemperatureRule = "paper",
) -> Tensor:
    """Return the draw (…, Z) as a pure function of the given random numbers.

    `temperature` is (…), `normal` (…, Z) are standard normals, `uniform` is (…, 1 or Z) in (0, 1).
    `uniform` selects the component by inverse CDF, one per dimension for the head per_dimension.
    At T = 0 the draw is the mean of the most likely component, under both rules.
    """
    mu, log_sigma = _picked(mixture, temperature, uniform)
    t = temperature.unsqueeze(-1)
    spread = torch.sqrt(t) if rule == "paper" else (t > 0).to(t.dtype)
    return mu + torch.exp(log_sigma) * spread * normal


def _picked(mixture: Mixture, temperature: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Return mu (…, Z) and log sigma (…, Z or 1) of the components that `uniform` selects."""
    components = mixture.mu.unbind(-2)  # their number is constant in a trace, a shape's is not
    if len(components) == 1:  # the cumulative weights would be an empty tensor
        is_isotropic = mixture.log_sigma.ndim < mixture.mu.ndim
        only = mixture.log_sigma if is_isotropic else mixture.log_sigma.squeeze(-2)
        return components[0], only
    logits = mixture.logits if mixture.per_dimension else mixture.logits.unsqueeze(-1)
    t = temperature[..., None, None]
    # the maximum is subtracted first, so that a tiny T gives one-hot weights and not inf - inf
    peak = logits.amax(dim=-2, keepdim=True)
    weights = torch.softmax((logits - peak) / t.clamp(min=_TINY_TEMPERATURE), dim=-2)
    cdf = torch.cumsum(weights, dim=-2)[..., :-1, :]  # without its last value, 1 up to rounding
    pick = (uniform.unsqueeze(-2) > cdf).sum(dim=-2, keepdim=True)  # (…, 1, 1 or Z)
    z_dim = mixture.mu.shape[-1]
    pick_z = pick.expand(*pick.shape[:-1], z_dim)
    mu = mixture.mu.gather(-2, pick_z).squeeze(-2)
    if mixture.log_sigma.ndim < mixture.mu.ndim:
        log_sigma = mixture.log_sigma.gather(-1, pick.squeeze(-1))
    else:
        log_sigma = mixture.log_sigma.gather(-2, pick_z).squeeze(-2)
    return mu, log_sigma
