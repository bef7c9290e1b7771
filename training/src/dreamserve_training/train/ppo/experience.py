"""What C learns from: steps of dreams or of real episodes."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Scores = Callable[[Tensor], Tensor]  # of C, (N, width), for its inputs (N, F)


@dataclass(frozen=True, eq=False)
class Experience:
    """T steps in each of N rows, where one dream or episode follows another.

    After a step that is `cut`, another one goes on.
    """

    features: Tensor  # (T + 1, N, F) before each step, and after the last
    scores: Tensor  # (T, N, width)
    drawn: Tensor  # (T, N, A)
    rewards: Tensor  # (T, N)
    ends: Tensor  # (T, N) probability that the step was an end
    cut: Tensor  # (T, N) bool
    finals: Tensor  # (cuts, F) states after the steps where `cut`, in its order
