"""The mixture density head's mathematics (Bishop 1994), in its three forms.

Shapes, with any leading axes (…), K components, Z latent dimensions:

    head            logits      mu          log_sigma   parameters
    joint           (…, K)      (…, K, Z)   (…, K, Z)   K·(2Z + 1)   one mixture over the vector
    per_dimension   (…, K, Z)   (…, K, Z)   (…, K, Z)   3·K·Z        a mixture for each dimension
    isotropic       (…, K)      (…, K, Z)   (…, K)      K·(Z + 2)    one sigma a component
"""

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional

Head = Literal["joint", "per_dimension", "isotropic"]
TemperatureRule = Literal["paper", "weights_only"]

# log sigma runs smoothly between these bounds: the likelihood cannot run away to a spike (a common
# cause of NaN), and no gradient dies at a hard clip.
LOG_SIGMA_MIN, LOG_SIGMA_MAX = -6.0, 2.0
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_TINY_TEMPERATURE = 1e-30  # so small that at T = 0 no other component keeps any weight


class Mixture(NamedTuple):
    """A mixture of Gaussians; shapes in the module's text."""

    logits: Tensor
    mu: Tensor
    log_sigma: Tensor

    @property
    def per_dimension(self) -> bool:
        """Whether each latent dimension has a mixture of its own."""
        return self.logits.ndim == self.mu.ndim


def head_size(head: Head, components: int, z_dim: int) -> int:
    """Return how many numbers a step's mixture takes."""
    if head not in get_args(Head):
        raise ValueError(f"head must be one of {get_args(Head)}, not {head!r}")
    joint, isotropic = components * (2 * z_dim + 1), components * (z_dim + 2)
    return {"joint": joint, "per_dimension": 3 * components * z_dim, "isotropic": isotropic}[head]


def split_parameters(parameters: Tensor, head: Head, components: int, z_dim: int) -> Mixture:
    """Return the mixture that `parameters` (…, head_size) stand for."""
    k, kz = components, components * z_dim
    sizes = {
        "joint": (k, kz, kz),
        "per_dimension": (kz, kz, kz),
        "isotropic": (k, kz, k),
    }[head]
    logits, mu, raw = parameters.split(sizes, dim=-1)
    matrix = (*parameters.shape[:-1], components, z_dim)
    if head == "per_dimension":
        logits = logits.reshape(matrix)
    if head != "isotropic":
        raw = raw.reshape(matrix)
    return Mixture(logits, mu.reshape(matrix), bound_log_sigma(raw))


def bound_log_sigma(raw: Tensor) -> Tensor:
    """Map any real number smoothly into (LOG_SIGMA_MIN, LOG_SIGMA_MAX); identity-like between."""
    middle, half = (LOG_SIGMA_MAX + LOG_SIGMA_MIN) / 2, (LOG_SIGMA_MAX - LOG_SIGMA_MIN) / 2
    return middle + half * torch.tanh((raw - middle) / half)


def mixture_log_prob(mixture: Mixture, target: Tensor) -> Tensor:
    """Return log p(target) in nats, shape (…), of `target` (…, Z); by log-sum-exp."""
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

    It is the mean over the steps where `mask` (…,) is true (all, if None), computed in float32 at
    least, whatever the autocast. With no valid step it is 0, and so is its gradient.

    It may well be negative: a density is not a probability.
    """
    if target.shape != mixture.mu.shape[:-2] + mixture.mu.shape[-1:]:
        raise ValueError(f"target {tuple(target.shape)} does not fit {tuple(mixture.mu.shape)}")
    wide = target.dtype if target.dtype == torch.float64 else torch.float32
    mixture = Mixture(*(part.to(wide) for part in mixture))
    nll = -mixture_log_prob(mixture, target.to(wide)) / target.shape[-1]
    if mask is None:
        return nll.mean()
    return masked_mean(nll, mask)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of `values` where `mask` is true, 0 where it never is; shapes alike."""
    # where, not multiply: what lies under the padding may be anything, NaN included
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def sample_from_mdn(
    mixture: Mixture,
    temperature: float | Tensor = 1.0,
    rule: TemperatureRule = "paper",
    deterministic: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return one draw (…, Z) from `mixture` at `temperature` (a number, or shape (…)).

    `paper` divides the logits by T and multiplies sigma by sqrt(T); `weights_only` divides the
    logits alone. `deterministic`, like T = 0, gives the most likely component's mean.
    Raises ValueError for a negative or non-finite temperature.
    """
    at = torch.as_tensor(0.0 if deterministic else temperature, dtype=mixture.mu.dtype)
    if not bool(torch.isfinite(at).all()) or bool((at < 0).any()):
        raise ValueError(f"temperature must be finite and not negative, not {temperature}")
    leading = mixture.mu.shape[:-2]
    z_dim = mixture.mu.shape[-1]
    uniforms = z_dim if mixture.per_dimension else 1
    normal = torch.randn(*leading, z_dim, generator=generator, dtype=mixture.mu.dtype)
    uniform = torch.rand(*leading, uniforms, generator=generator, dtype=mixture.mu.dtype)
    device = mixture.mu.device
    return sample_with_noise(
        mixture, at.to(device).expand(leading), normal.to(device), uniform.to(device), rule
    )


def sample_with_noise(
    mixture: Mixture,
    temperature: Tensor,
    normal: Tensor,
    uniform: Tensor,
    rule: TemperatureRule = "paper",
) -> Tensor:
    """Return the draw (…, Z) that these random numbers stand for: a pure function.

    `temperature` is (…), `normal` (…, Z) standard normals, `uniform` (…, 1 or Z) in (0, 1): the
    component is picked by inverse CDF, per dimension where the mixture is. At T = 0 it is the
    mean of the most likely component, under both rules.
    """
    logits = mixture.logits if mixture.per_dimension else mixture.logits.unsqueeze(-1)
    t = temperature[..., None, None]
    # The peak is taken off first, so that a tiny T yields one-hot weights and never inf - inf.
    peak = logits.amax(dim=-2, keepdim=True)
    weights = torch.softmax((logits - peak) / t.clamp(min=_TINY_TEMPERATURE), dim=-2)
    below = torch.cumsum(weights, dim=-2)[..., :-1, :]  # the last bound is 1, whatever it rounds to
    pick = (uniform.unsqueeze(-2) > below).sum(dim=-2, keepdim=True)  # (…, 1, 1 or Z)
    z_dim = mixture.mu.shape[-1]
    pick_z = pick.expand(*pick.shape[:-1], z_dim)
    mu = mixture.mu.gather(-2, pick_z).squeeze(-2)
    if mixture.log_sigma.ndim < mixture.mu.ndim:
        log_sigma = mixture.log_sigma.gather(-1, pick.squeeze(-1))
    else:
        log_sigma = mixture.log_sigma.gather(-2, pick_z).squeeze(-2)
    t = temperature.unsqueeze(-1)
    spread = torch.sqrt(t) if rule == "paper" else (t > 0).to(t.dtype)
    return mu + torch.exp(log_sigma) * spread * normal
