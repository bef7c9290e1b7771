"""Gymnasium's MultiDiscrete and MultiBinary with one axis: several choices at once."""

from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dreamserve.spaces.base import Actions, Array, Bools, Dtype, Space, listed

# Arrays grow with the sum of all components' choices, which no list of names bounds.
MAX_CHOICES = 65_536


class _Choices(Space):
    """Actions (A,) int64; component i is one of 0 … choice_counts[i] - 1."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one action."""
        return (len(self.names),)

    @property
    def dtype(self) -> Dtype:
        """Dtype of its actions."""
        return np.int64

    @cached_property
    def _counts(self) -> npt.NDArray[np.int64]:
        return np.array(self.choice_counts, np.int64)

    def uniform(self, uniforms: Array) -> Actions:
        scaled = uniforms * self._counts.astype(np.float32)
        return np.minimum(scaled.astype(np.int64), self._counts - 1)

    def _convert(self, actions: npt.NDArray[Any]) -> tuple[Actions, Bools]:
        return actions.astype(np.int64), (actions >= 0) & (actions < self._counts)

    def _outside(self, actions: npt.NDArray[Any], inside: Bools) -> str:
        where = tuple(np.argwhere(~inside)[0])
        return f"{self.names[where[-1]]} = {actions[where]}"


class MultiDiscreteSpace(_Choices):
    """Actions (A,) int64: component i, called names[i], is one of 0 … nvec[i] - 1.

    choices: names of each component's choices, if they have any.
    """

    type: Literal["MultiDiscrete"] = "MultiDiscrete"
    nvec: Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_CHOICES)], ...], Field(min_length=1)]
    choices: tuple[tuple[str, ...], ...] | None = None

    @property
    def choice_counts(self) -> tuple[int, ...]:
        """Number of choices of each component."""
        return self.nvec

    @model_validator(mode="after")
    def _one_name_each(self) -> Self:
        if len(self.names) != len(self.nvec):
            raise ValueError(f"{len(self.nvec)} components but {len(self.names)} names")
        if sum(self.nvec) > MAX_CHOICES:
            raise ValueError(f"nvec adds up to {sum(self.nvec)}, at most {MAX_CHOICES} is possible")
        if self.choices is not None and tuple(map(len, self.choices)) != self.nvec:
            counts = list(map(len, self.choices))
            raise ValueError(f"choices has {counts} names for nvec {list(self.nvec)}")
        return self

    def __str__(self) -> str:
        counts = listed(map(str, self.nvec))
        return f"MultiDiscrete([{counts}]): {listed(map(self._component, range(len(self.nvec))))}"

    def from_scores(self, scores: Array, is_finite: Bools) -> Actions:
        actions = np.empty((len(scores), len(self.nvec)), np.int64)
        for group in self.choice_groups:
            actions[:, group.components] = np.argmax(scores[:, group.columns], axis=2)
        return actions

    def _component(self, i: int) -> str:
        if self.choices is None:
            return f"{self.names[i]} 0 to {self.nvec[i] - 1}"
        named = listed(f"{number} {name}" for number, name in enumerate(self.choices[i]))
        return f"{self.names[i]} ({named})"


class MultiBinarySpace(_Choices):
    """Actions (A,) int64 of n components, called `names`, each 0 or 1."""

    type: Literal["MultiBinary"] = "MultiBinary"
    n: int = Field(ge=1, le=MAX_CHOICES // 2)

    @property
    def choice_counts(self) -> tuple[int, ...]:
        """Two for each component."""
        return (2,) * self.n

    @property
    def width(self) -> int:
        """Number of a policy's scores: one per component, which is 1 if its score is above 0."""
        return self.n

    @model_validator(mode="after")
    def _one_name_each(self) -> Self:
        if len(self.names) != self.n:
            raise ValueError(f"{self.n} components but {len(self.names)} names")
        return self

    def __str__(self) -> str:
        return f"MultiBinary({self.n}): {listed(f'{name} 0 or 1' for name in self.names)}"

    def from_scores(self, scores: Array, is_finite: Bools) -> Actions:
        return (scores > 0).astype(np.int64)
