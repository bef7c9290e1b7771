"""Returns of candidates' futures, computed on a torch device without copying states off it.

The result equals that of the engine's own steps (`DeviceBackend.returns`): a step's reward counts
if the future had not ended before it, times the discount, and is summed in float64.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dreamserve.backends.base import Actions, Array, State, UInt64, head_arrays
from dreamserve.backends.host_state import padded
from dreamserve.backends.torch import full_groups
from dreamserve.backends.torch_state import Step, checked, finite_rows, step_noise
from dreamserve.manifest import WorldSpec

Values = npt.NDArray[np.float64]

CHUNK_SIZE = 4096  # candidates in one call; bounds the device memory


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
    """Return the returns (N,) of N futures under `step`, as defined by `DeviceBackend.returns`."""
    count, horizon = actions.shape[:2]
    # Rounded as the engine's weights are: one product for each step.
    weights = np.multiply.accumulate(np.array([1.0] + [discount] * (horizon - 1)))
    start = [torch.tensor(part, device=device) for part in (latent, *state)]
    values = np.empty(count)
    for first in range(0, count, CHUNK_SIZE):
        chunk = slice(first, min(first + CHUNK_SIZE, count))
        size = full_groups(chunk.stop - first)
        chunk_keys = keys if len(keys) == 1 else padded(keys[chunk], size)
        computed = _chunk_returns(
            spec,
            step,
            start,
            torch.tensor(padded(actions[chunk], size), device=device),
            torch.tensor(chunk_keys.view(np.int64), device=device),
            temperature,
            torch.tensor(weights, device=device),
        )
        values[chunk] = computed[: chunk.stop - first].cpu().numpy()
    return values


def _chunk_returns(
    spec: WorldSpec,
    step: Step,
    start: list[Tensor],
    actions: Tensor,
    keys: Tensor,
    temperature: float,
    weights: Tensor,
) -> Tensor:
    """Return the discounted return of each future, (N,) float64.

    start: latent (1, Z) and state (1, *shape) each; actions (N, H, …), keys (1 or N, H) int64,
    weights (H,) float64.
    """
    size, horizon = actions.shape[:2]
    latent, *state = (part.repeat(size, *(1,) * (part.ndim - 1)) for part in start)
    temperatures = torch.full((size,), temperature, device=actions.device)
    drawn, ends = step_noise(spec, keys.reshape(-1))
    noise = drawn.reshape(*keys.shape, -1).expand(size, horizon, -1)
    states, heads = len(state), head_arrays(spec)
    rewards: list[Tensor] = []
    done_logits: list[Tensor] = []
    finite: list[Tensor] = []
    for t in range(horizon):
        outputs = step(
            latent, actions[:, t].contiguous(), *state, temperatures, noise[:, t].contiguous()
        )
        latent, reward, done_logit, *rest = outputs
        state = rest[:states]
        rewards.append(reward)
        done_logits.append(done_logit)
        finite.append(finite_rows(*checked(outputs, states, heads)))
    logits = torch.stack(done_logits)  # (H, N)
    if ends is None:
        terminated = logits > spec.done.threshold
    else:
        terminated = logits.double() > torch.logit(ends.double()).reshape(keys.shape).T
    return discounted_returns(torch.stack(rewards), terminated, torch.stack(finite), weights)


def discounted_returns(
    rewards: Tensor, terminated: Tensor, finite: Tensor, weights: Tensor
) -> Tensor:
    """Return (N,) float64: the weighted sum of rewards while alive, -inf if not finite by then.

    rewards, terminated (bool) and finite (bool) are (H, N), weights (H,) float64. Steps after a
    future's end are ignored.
    """
    ended = terminated.int()
    alive = ended.cumsum(0) - ended == 0  # before the step
    counted = (rewards.double() * weights.unsqueeze(1)).masked_fill(~alive, 0)
    total = counted.cumsum(0)[-1]  # in the order of the steps, as on the host
    return total.masked_fill((alive & ~finite).any(0), float("-inf"))
