"""Generalised advantage estimation (Schulman et al. 2016), with ends by their expectation."""

from torch import Tensor


def advantages(
    rewards: Tensor,
    ends: Tensor,
    cut: Tensor,
    values: Tensor,
    next_values: Tensor,
    discount: float,
    gae_lambda: float,
) -> Tensor:
    """Return the advantages (T, N) of T steps of N dreams; every argument is (T, N), `cut` bool.

    `next_values` are of the states after each step. A step goes on with the probability 1 - `ends`,
    whether or not its end was drawn, which has less variance. After a step that is `cut` another
    dream begins, so the rest is `next_values`.
    """
    weights = discount * (1 - ends)
    errors = rewards + weights * next_values - values
    carried = gae_lambda * weights * ~cut
    for t in range(len(errors) - 2, -1, -1):
        errors[t] += carried[t] * errors[t + 1]
    return errors
