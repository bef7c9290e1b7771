"""The pure functions of a bundle, as modules that can be traced and exported.

Signatures are those of `dreamserve.manifest`. Traces do not depend on the batch size or the data,
and all randomness is the input `noise`. Each module has its own copy of the model's weights.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from dreamserve_training.models.catalog import Vision
from dreamserve_training.models.controller import LayeredPolicy
from dreamserve_training.models.mixture import TemperatureRule, sample_with_noise
from dreamserve_training.models.networks import network_of
from dreamserve_training.models.signals import shown_signals
from dreamserve_training.models.vae import ConvVAE
from dreamserve_training.models.vectors import VectorScale
from dreamserve_training.models.world_model import WorldModel

NEVER_DONE = -100.0  # the done logit of a model without a done head


class EncodeGraph(nn.Module):
    """frames (B, H, W, C) in [0, 1] → mu (B, Z), logvar (B, Z)."""

    def __init__(self, vae: ConvVAE) -> None:
        super().__init__()
        vae = deepcopy(vae)
        self.encoder, self.mu_head, self.logvar_head = vae.encoder, vae.mu_head, vae.logvar_head
        self.eval()

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of each frame's posterior."""
        # not vae.encode, whose shape check cannot be traced; the engine checks the shape
        features = self.encoder(frames.permute(0, 3, 1, 2))
        return self.mu_head(features), self.logvar_head(features)


class DecodeGraph(nn.Module):
    """latent (B, Z) → frames (B, H, W, C) in [0, 1]."""

    def __init__(self, vae: ConvVAE) -> None:
        super().__init__()
        self.decoder = deepcopy(vae.decoder)
        self.eval()

    def forward(self, latent: Tensor) -> Tensor:
        """Return the decoded frames."""
        frames: Tensor = self.decoder(latent)
        return frames.permute(0, 2, 3, 1)


class ScaleGraph(nn.Module):
    """The encoder of vectors: (B, n) → mu (B, n), logvar (B, n)."""

    def __init__(self, vision: VectorScale) -> None:
        super().__init__()
        self.vision = deepcopy(vision)
        self.eval()

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of each vector's posterior."""
        mu = (vectors - self.vision.mean) / self.vision.scale
        return mu, self.vision.logvar(mu)


class UnscaleGraph(nn.Module):
    """The decoder of vectors: latent (B, n) → vectors (B, n)."""

    def __init__(self, vision: VectorScale) -> None:
        super().__init__()
        self.vision = deepcopy(vision)
        self.eval()

    def forward(self, latent: Tensor) -> Tensor:
        """Return the decoded vectors."""
        return self.vision.decode(latent)


def vision_graphs(vision: Vision) -> tuple[nn.Module, nn.Module]:
    """Return the graphs that encode and decode, as this V does."""
    if isinstance(vision, VectorScale):
        return ScaleGraph(vision), UnscaleGraph(vision)
    return EncodeGraph(vision), DecodeGraph(vision)


class StepGraph(nn.Module):
    """One step of a dream: M's prediction and a draw of the next latent.

    `constant_reward` is the reward of every step if the model predicts none, else None. Raises
    ValueError otherwise.
    """

    def __init__(
        self,
        memory: WorldModel,
        temperature_rule: TemperatureRule = "paper",
        constant_reward: float | None = None,
    ) -> None:
        super().__init__()
        if memory.predict_reward == (constant_reward is not None):
            raise ValueError("give constant_reward if and only if the model predicts no reward")
        self.predict = memory.graph()
        self.normal = memory.spec().noise.normal
        self.temperature_rule: TemperatureRule = temperature_rule
        self.constant_reward, self.signals = constant_reward, dict(memory.signals)
        self.eval()

    def forward(self, latent: Tensor, action: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Return the step's outputs in the manifest's order.

        latent (B, Z), action (B, …) of the action space; then the state's tensors, (B, …) each,
        temperature (B,), and noise (B, normal + uniform).
        """
        *state, temperature, noise = rest
        mixture, reward, done_logit, state, signals = self.predict(latent, action, *state)
        normal, uniform = noise[:, : self.normal], noise[:, self.normal :]
        drawn = sample_with_noise(mixture, temperature, normal, uniform, self.temperature_rule)
        if self.constant_reward is not None:
            reward = torch.full_like(temperature, self.constant_reward)
        if done_logit is None:
            done_logit = torch.full_like(temperature, NEVER_DONE)
        return drawn, reward, done_logit, *state, *mixture, *shown_signals(self.signals, signals)


class PolicyGraph(nn.Module):
    """latent (B, Z), the recurrent tensors (B, …) → scores (B, width)."""

    def __init__(self, policy: LayeredPolicy, names: Sequence[str]) -> None:
        super().__init__()
        self.places = [tuple(names).index(name) for name in policy.inputs]
        self.layers = network_of(policy.layers)
        self.eval()

    def forward(self, latent: Tensor, *state: Tensor) -> Tensor:
        """Return the scores; `names` are those of the latent and the state, in order."""
        tensors = (latent, *state)
        seen = torch.cat([tensors[place].flatten(1) for place in self.places], dim=1)
        scores: Tensor = self.layers(seen)
        return scores
