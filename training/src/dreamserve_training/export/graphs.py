"""The three pure functions a bundle holds, as modules that trace and export cleanly.

Signatures are those of `dreamserve.manifest`. Nothing here depends on the batch's size or its
data, and all randomness comes in as `noise`. Each holds its own copy of the model's weights.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from dreamserve_training.models.mixture import (
    Mixture,
    TemperatureRule,
    sample_with_noise,
    split_parameters,
)
from dreamserve_training.models.recurrent import MDNRNN
from dreamserve_training.models.vae import ConvVAE

NEVER_DONE = -100.0  # the done logit of a world that has no done head

StepTensors = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


class EncodeGraph(nn.Module):
    """frames (B, H, W, C) in [0, 1] → mu (B, Z), logvar (B, Z)."""

    def __init__(self, vae: ConvVAE) -> None:
        super().__init__()
        vae = deepcopy(vae)
        self.encoder, self.mu_head, self.logvar_head = vae.encoder, vae.mu_head, vae.logvar_head
        self.eval()

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior of each frame."""
        # not vae.encode: its check of the shape cannot be traced, and the engine has made it
        features = self.encoder(frames.permute(0, 3, 1, 2))
        return self.mu_head(features), self.logvar_head(features)


class DecodeGraph(nn.Module):
    """latent (B, Z) → frames (B, H, W, C) in [0, 1]."""

    def __init__(self, vae: ConvVAE) -> None:
        super().__init__()
        self.decoder = deepcopy(vae.decoder)
        self.eval()

    def forward(self, latent: Tensor) -> Tensor:
        """Return the frame each latent stands for."""
        frames: Tensor = self.decoder(latent)
        return frames.permute(0, 2, 3, 1)


class StepGraph(nn.Module):
    """One step of an MDN-RNN's dream: a whole LSTM cell, its heads and the draw of the next latent.

    The cell's gates are one Gemm over [z, a, h], and all heads one Gemm over h': at small batches
    that is faster than the LSTM operator.

    `constant_reward` is the reward of every step, for a model without a reward head; a model with
    one takes None. Raises ValueError when the two do not go together.
    """

    def __init__(
        self,
        mdnrnn: MDNRNN,
        temperature_rule: TemperatureRule = "paper",
        constant_reward: float | None = None,
    ) -> None:
        super().__init__()
        if (mdnrnn.reward_head is None) != (constant_reward is not None):
            raise ValueError("give constant_reward exactly when the model has no reward head")
        self.z_dim, self.action_dim = mdnrnn.z_dim, mdnrnn.action_dim
        self.rnn_size, self.num_mixtures = mdnrnn.rnn_size, mdnrnn.num_mixtures
        self.head, self.discrete_actions = mdnrnn.head, mdnrnn.discrete_actions
        self.temperature_rule: TemperatureRule = temperature_rule
        self.constant_reward = constant_reward
        self.has_done_head = mdnrnn.done_head is not None
        lstm = mdnrnn.lstm
        self.gates = _linear(
            torch.cat([lstm.weight_ih_l0, lstm.weight_hh_l0], dim=1),
            lstm.bias_ih_l0 + lstm.bias_hh_l0,
        )
        heads = [mdnrnn.mdn_head, mdnrnn.reward_head, mdnrnn.done_head]
        present = [head for head in heads if head is not None]
        self.heads = _linear(
            torch.cat([head.weight for head in present]), torch.cat([head.bias for head in present])
        )
        self.head_sizes = [head.out_features for head in present]
        self.register_buffer("action_range", torch.arange(self.action_dim), persistent=False)
        self.eval()

    def forward(
        self,
        latent: Tensor,
        action: Tensor,
        h: Tensor,
        c: Tensor,
        temperature: Tensor,
        noise: Tensor,
    ) -> StepTensors:
        """Return the step's outputs in the manifest's order.

        latent (B, Z), action int64 (B,) or float (B, A), h and c (B, R), temperature (B,),
        noise (B, Z + 1) or, for per_dimension, (B, 2Z).
        """
        h, c = self._remember(latent, action, h, c)
        mixture, reward, done_logit = self._speak(h, temperature)
        normal, uniform = noise[:, : self.z_dim], noise[:, self.z_dim :]
        drawn = sample_with_noise(mixture, temperature, normal, uniform, self.temperature_rule)
        return drawn, reward, done_logit, h, c, mixture.logits, mixture.mu, mixture.log_sigma

    def _remember(
        self, latent: Tensor, action: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.discrete_actions:  # one_hot without one_hot's look at the data
            action = (action.unsqueeze(-1) == self.action_range).type_as(latent)
        gates = self.gates(torch.cat([latent, action, h], dim=-1))  # (B, 4R)
        enter, forget, cell, leave = gates.split(self.rnn_size, dim=-1)  # torch's order: i, f, g, o
        c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(cell)
        return torch.sigmoid(leave) * torch.tanh(c), c

    def _speak(self, h: Tensor, temperature: Tensor) -> tuple[Mixture, Tensor, Tensor]:
        parts = list(self.heads(h).split(self.head_sizes, dim=-1))
        mixture = split_parameters(parts.pop(0), self.head, self.num_mixtures, self.z_dim)
        if self.constant_reward is None:
            reward = parts.pop(0).squeeze(-1)
        else:
            reward = torch.full_like(temperature, self.constant_reward)
        if self.has_done_head:
            return mixture, reward, parts.pop(0).squeeze(-1)
        return mixture, reward, torch.full_like(temperature, NEVER_DONE)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer
