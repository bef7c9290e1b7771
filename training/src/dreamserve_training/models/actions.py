"""A world's actions as a model's input: choices one-hot, numbers scaled to [-1, 1]."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from dreamserve.spaces import ActionSpace, BoxSpace, DiscreteSpace, MultiBinarySpace


class ActionInput(nn.Module):
    """Maps actions (…, *shape) of a space to features (…, size), float32, without parameters.

    Discrete and MultiDiscrete: one-hot, the components' in a row. MultiBinary: 0 or 1. Box: from
    its bounds to [-1, 1], so that a model sees the same range whatever the bounds. Without a space
    (`space` None) the features are the `size` numbers of an action as they are.
    """

    # of a Box, (A,) each
    half_low: Tensor
    half_width: Tensor
    # of choices, by feature: the component that it belongs to, and which choice of it it stands for
    component: Tensor
    choice: Tensor

    def __init__(self, space: ActionSpace | None, size: int | None = None) -> None:
        super().__init__()
        self.space, self.size = space, space.width if space is not None else size or 0
        self.shape = (self.size,) if space is None else space.shape
        self.dtype = np.float32 if space is None else space.dtype
        if isinstance(space, BoxSpace):
            low, high = (torch.tensor(bound) for bound in space.bounds)
            self._keep(half_low=low / 2, half_width=high / 2 - low / 2)  # high - low may overflow
        elif space is not None and not isinstance(space, MultiBinarySpace):
            counts = torch.tensor(space.choice_counts)
            self._keep(
                component=torch.arange(len(counts)).repeat_interleave(
                    counts, output_size=sum(space.choice_counts)
                ),
                choice=torch.cat([torch.arange(count) for count in space.choice_counts]),
            )

    def forward(self, actions: Tensor) -> Tensor:
        """Return the features of actions that `check` accepts; it can be traced."""
        if isinstance(self.space, BoxSpace):
            return (actions.float() / 2 - self.half_low) / self.half_width * 2 - 1
        if self.space is None or isinstance(self.space, MultiBinarySpace):
            return actions.float()
        if isinstance(self.space, DiscreteSpace):
            return actions.unsqueeze(-1).eq(self.choice).float()
        return actions.index_select(-1, self.component).eq(self.choice).float()

    def check(self, actions: Tensor, leading: tuple[int, ...]) -> None:
        """Raise ValueError unless actions are (*leading, *shape), of the dtype, and inside choices.

        Numbers on a device are not compared: that would wait for it.
        """
        expected = (*leading, *self.shape)
        if tuple(actions.shape) != expected:
            raise ValueError(f"actions must be {expected}, not {tuple(actions.shape)}")
        if self.dtype is np.float32:
            return
        if actions.is_floating_point():
            raise ValueError(f"actions must be integers of {self.space}, not {actions.dtype}")
        assert self.space is not None
        counts = torch.tensor(self.space.choice_counts).reshape(self.shape)
        if actions.device.type == "cpu" and bool(((actions < 0) | (actions >= counts)).any()):
            raise ValueError(f"actions hold numbers that are not in {self.space}")

    def fits(self, space: ActionSpace) -> bool:
        """Return whether a world with this space gives the actions that the model was made for."""
        if self.space is None:
            return isinstance(space, BoxSpace) and space.shape == self.shape
        unnamed = {"names", "choices"}
        return self.space.model_dump(exclude=unnamed) == space.model_dump(exclude=unnamed)

    def _keep(self, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)


def as_space(given: ActionSpace | Mapping[str, Any] | None) -> ActionSpace | None:
    """Return an action space from its fields, as checkpoints hold them. Raises ValueError."""
    space: ActionSpace | None = TypeAdapter(ActionSpace | None).validate_python(given)
    return space


def action_input_of(
    space: ActionSpace | None, action_dim: int | None, discrete: bool
) -> ActionInput:
    """Return the input of a `space`; or, without one, of `action_dim` choices or plain numbers.

    Raises ValueError for neither, and for an `action_dim` that is not the space's width.
    """
    if space is None:
        if action_dim is None or action_dim < 1:
            raise ValueError("give action_space, or an action_dim of at least 1")
        if not discrete:
            return ActionInput(None, action_dim)
        names = tuple(f"action {i}" for i in range(action_dim))
        return ActionInput(DiscreteSpace(n=action_dim, names=names))
    if action_dim not in (None, space.width):
        raise ValueError(f"action_dim is {action_dim}, but {space} has the width {space.width}")
    return ActionInput(space)
