"""PPO's update (Schulman et al. 2017): the clipped objective, in minibatches."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dreamserve_training.runs.errors import DivergedError
from dreamserve_training.train.ppo.config import LearningConfig
from dreamserve_training.train.ppo.model import ActorCritic


@dataclass(frozen=True, eq=False)
class Batch:
    """B steps."""

    features: Tensor  # (B, F)
    drawn: Tensor  # (B, A)
    log_prob: Tensor  # (B,) of what was drawn, by the policy that drew it
    advantages: Tensor  # (B,)
    targets: Tensor  # (B,) of the critic


@dataclass(frozen=True)
class Figures:
    """Means over an update."""

    policy_loss: float
    value_loss: float
    entropy: float
    kl: float  # of the old policy from the new one, about


def improve(
    model: ActorCritic,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: LearningConfig,
    rng: np.random.Generator,
) -> Figures:
    """Improve policy and critic by `passes` over the batch. DivergedError if a loss is not finite.

    Advantages are scaled to mean 0 and standard deviation 1 over the whole batch.
    """
    mean, std = batch.advantages.mean(), batch.advantages.std()
    scaled = (batch.advantages - mean) / (std + 1e-8)
    totals, count = scaled.new_zeros(4), 0
    for _ in range(config.passes):
        order = torch.from_numpy(rng.permutation(len(scaled))).to(scaled.device)
        for rows in torch.split(order, config.minibatch):
            loss, figures = _loss(model, batch, scaled, rows, config)
            if not bool(torch.isfinite(loss)):
                raise DivergedError(f"the loss is {loss.item()}; use a smaller lr")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
            optimizer.step()
            totals += figures
            count += 1
    if not all(bool(torch.isfinite(part).all()) for part in model.parameters()):
        raise DivergedError("a weight is not finite; use a smaller lr")
    return Figures(*(totals / count).tolist())


def _loss(
    model: ActorCritic, batch: Batch, scaled: Tensor, rows: Tensor, config: LearningConfig
) -> tuple[Tensor, Tensor]:
    features = batch.features.index_select(0, rows)  # faster than by []
    scores = model.actor(features[:, : model.input_size])
    change = model.distribution.log_prob(scores, batch.drawn[rows]) - batch.log_prob[rows]
    ratio, advantage = torch.exp(change), scaled[rows]
    clipped = torch.clamp(ratio, 1 - config.clip, 1 + config.clip)
    policy_loss = -torch.minimum(ratio * advantage, clipped * advantage).mean()
    value_loss = 0.5 * (model.value(features) - batch.targets[rows]).square().mean()
    entropy = model.distribution.entropy(scores).mean()
    loss = policy_loss + value_loss - config.entropy * entropy
    kl = (ratio - 1 - change).mean()
    return loss, torch.stack([policy_loss, value_loss, entropy, kl]).detach()
