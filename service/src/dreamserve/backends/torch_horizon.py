"""Planning on a torch device: what candidates earn, their states never leaving it.

What a future earns is the same as where the engine steps it (`KeepsState.returns`): a step's reward
counts if the future lived before it, in float32 times the discount, summed in float64.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dreamserve.backends import torch_noise
from dreamserve.backends.base import Actions, Array, State, UInt64
from dreamserve.backends.host_state import filled
from dreamserve.backends.torch import whole_groups
from dreamserve.backends.torch_state import Step, finite_rows
from dreamserve.manifest import WorldSpec

Values = npt.NDArray[np.float64]

AT_ONCE = 4096  # more candidates are evaluated in parts, which bounds the memory it takes


@torch.inference_mode()
def returns(
    spec: WorldSpec,
    step: Step,
    device: torch.device,
    latent: Array,
    state: State,
    actions: Actions,
    keys: UInt64,
    temperature: float,
    discount: float,
) -> Values:
    """Return what N futures earn under `step`, as `KeepsState.returns` says."""
    count, horizon = actions.shape[:2]
    # The weights as the engine makes them: one product a step.
    weights = np.multiply.accumulate(np.array([1.0] + [discount] * (horizon - 1)))
    begun = [torch.tensor(part, device=device) for part in (latent, *state)]
    values = np.empty(count)
    for first in range(0, count, AT_ONCE):
        part = slice(first, min(first + AT_ONCE, count))
        size = whole_groups(part.stop - first)
        drawn_from = keys if len(keys) == 1 else filled(keys[part], size)
        earned = _earned(
            spec,
            step,
            begun,
            torch.tensor(filled(actions[part], size), device=device),
            torch.tensor(drawn_from.view(np.int64), device=device),
            temperature,
            torch.tensor(weights.astype(np.float32), device=device),
        )
        values[part] = earned[: part.stop - first].cpu().numpy()
    return values


def _earned(
    spec: WorldSpec,
    step: Step,
    begun: list[Tensor],
    actions: Tensor,
    keys: Tensor,
    temperature: float,
    weights: Tensor,
) -> Tensor:
    """Return what each future earns, (N,) float64.

    begun: latent (1, Z) and state (1, *shape) each; actions (N, H, …), keys (1 or N, H) int64,
    weights (H,).
    """
    size, horizon = actions.shape[:2]
    latent, *state = (part.repeat(size, *(1,) * (part.ndim - 1)) for part in begun)
    hot = torch.full((size,), temperature, device=actions.device)
    drawn = torch_noise.draw(keys.reshape(-1), spec.noise.normal, spec.noise.uniform)
    noise = drawn.reshape(*keys.shape, -1).expand(size, horizon, -1)
    rewards: list[Tensor] = []
    done_logits: list[Tensor] = []
    finite: list[Tensor] = []
    for t in range(horizon):
        latent, reward, done_logit, *rest = step(
            latent, actions[:, t].contiguous(), *state, hot, noise[:, t].contiguous()
        )
        state = rest[:-3]
        rewards.append(reward)
        done_logits.append(done_logit)
        finite.append(finite_rows(latent, reward, done_logit, *state))
    return earnings(
        torch.stack(rewards),
        torch.stack(done_logits),
        torch.stack(finite),
        weights,
        spec.done.threshold,
    )


def earnings(
    rewards: Tensor, done_logits: Tensor, finite: Tensor, weights: Tensor, threshold: float
) -> Tensor:
    """Return (N,) float64: the discounted sum of rewards while alive, -inf for a future lost.

    rewards, done_logits and finite (bool) are (H, N), weights (H,). Futures dream on after their
    end, but nothing of that is looked at.
    """
    terminated = (done_logits > threshold).int()
    alive = terminated.cumsum(0) - terminated == 0  # before the step
    earned = (rewards * weights.unsqueeze(1)).masked_fill(~alive, 0).double()
    total = earned.cumsum(0)[-1]  # in the order of the steps, as on the host
    return total.masked_fill((alive & ~finite).any(0), float("-inf"))
