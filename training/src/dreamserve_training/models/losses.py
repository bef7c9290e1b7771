"""The losses of what a memory model predicts, by teacher forcing."""

import torch
from torch import Tensor
from torch.nn import functional

from dreamserve_training.models.mixture import masked_mean, mdn_loss_function
from dreamserve_training.models.signals import Heads
from dreamserve_training.models.world_model import Batch, LossWeights, Prediction


def prediction_losses(
    output: Prediction, batch: Batch, weights: LossWeights, signals: Heads, reward_scale: float
) -> dict[str, Tensor]:
    """Return mixture NLL per dimension, reward MSE, weighted done cross-entropy, and `loss`.

    The MSE is that of scaled rewards: of rewards divided by `reward_scale`. Signals are terms by
    their names, `signal.NAME`: cross-entropy or MSE.
    """
    parts = {"nll": mdn_loss_function(output.mixture, batch["next_z"], batch["next_mask"])}
    total = parts["nll"]
    if output.reward is not None:
        error = ((output.reward.float() - batch["rewards"]) / reward_scale).square()
        parts["reward"] = masked_mean(error, batch["mask"])
        total = total + weights.reward * parts["reward"]
    if output.done_logit is not None:
        positive = torch.tensor(weights.done_positive, device=output.done_logit.device)
        error = functional.binary_cross_entropy_with_logits(
            output.done_logit.float(), batch["done"], pos_weight=positive, reduction="none"
        )
        parts["done"] = masked_mean(error, batch["mask"])
        total = total + weights.done * parts["done"]
    for index, (name, head) in enumerate(signals.items()):
        target = batch["signals"][..., index]
        parts[f"signal.{name}"] = head.loss(output.signals[index], target, batch["mask"])
        total = total + weights.signal * parts[f"signal.{name}"]
    return {"loss": total, **parts}
