"""The losses of what a memory model predicts, by teacher forcing."""

import torch
from torch.nn import functional

from dreamserve_training.models.mixture import mixture_nll
from dreamserve_training.models.signals import Heads
from dreamserve_training.models.terms import Term, masked
from dreamserve_training.models.world_model import Batch, LossWeights, Prediction


def prediction_losses(
    output: Prediction, batch: Batch, weights: LossWeights, signals: Heads, reward_scale: float
) -> dict[str, Term]:
    """Return the terms mixture NLL per dimension, reward MSE and weighted done cross-entropy.

    The MSE is that of scaled rewards: of rewards divided by `reward_scale`. Signals are terms by
    their names, `signal.NAME`: cross-entropy or MSE.
    """
    mask = batch["mask"]
    terms = {"nll": masked(mixture_nll(output.mixture, batch["next_z"]), batch["next_mask"])}
    if output.reward is not None:
        error = ((output.reward.float() - batch["rewards"]) / reward_scale).square()
        terms["reward"] = masked(error, mask, weights.reward)
    if output.done_logit is not None:
        positive = torch.tensor(weights.done_positive, device=output.done_logit.device)
        error = functional.binary_cross_entropy_with_logits(
            output.done_logit.float(), batch["done"], pos_weight=positive, reduction="none"
        )
        terms["done"] = masked(error, mask, weights.done)
    for index, (name, head) in enumerate(signals.items()):
        target = batch["signals"][..., index]
        terms[f"signal.{name}"] = head.loss(output.signals[index], target, mask, weights.signal)
    return terms
