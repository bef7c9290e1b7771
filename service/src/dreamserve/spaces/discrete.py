"""Gymnasium's Discrete."""

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dreamserve.spaces.base import Actions, Array, Bools, Dtype, Space, listed


class DiscreteSpace(Space):
    """Actions 0 … n-1, each with a name."""

    type: Literal["Discrete"] = "Discrete"
    n: int = Field(ge=1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one action."""
        return ()

    @property
    def dtype(self) -> Dtype:
        """Dtype of its actions."""
        return np.int64

    @property
    def choice_counts(self) -> tuple[int, ...]:
        """Number of actions."""
        return (self.n,)

    @model_validator(mode="after")
    def _one_name_each(self) -> Self:
        if len(self.names) != self.n:
            raise ValueError(f"{self.n} actions but {len(self.names)} names")
        return self

    def __str__(self) -> str:
        return f"Discrete({self.n}): {listed(f'{i} {name}' for i, name in enumerate(self.names))}"

    def uniform(self, uniforms: Array) -> Actions:
        return np.minimum((uniforms * self.n).astype(np.int64), self.n - 1)

    def from_scores(self, scores: Array, is_finite: Bools) -> Actions:
        best: Actions = np.argmax(scores, axis=1)
        return best

    def check(self, actions: Any, leading: tuple[int, ...] = ()) -> Any:
        if type(actions) is int and not leading and 0 <= actions < self.n:
            return actions  # fast path of most steps
        checked = super().check(actions, leading)
        return checked if checked.ndim else int(checked)

    def _convert(self, actions: npt.NDArray[Any]) -> tuple[Actions, Bools]:
        return actions.astype(np.int64), (actions >= 0) & (actions < self.n)

    def _outside(self, actions: npt.NDArray[Any], inside: Bools) -> str:
        return f"action {actions[~inside].flat[0]}"
