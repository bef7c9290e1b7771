"""Recurrent cores with a mixture density head (Ha & Schmidhuber 2018, A.2).

The mixture, reward, done and signals' heads read the core's output after (z_t, a_t) and predict
z_{t+1}, r_{t+1}, d_{t+1} and the signals of the step.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dreamserve.heads import GaussianMixture
from dreamserve.manifest import NoiseSpec, TensorSpec
from dreamserve.spaces import ActionSpace, DiscreteSpace
from dreamserve_training.models.actions import action_input_of, as_space
from dreamserve_training.models.losses import prediction_losses
from dreamserve_training.models.mixture import (
    Head,
    Mixture,
    head_size,
    split_parameters,
)
from dreamserve_training.models.signals import SignalHead, as_config, as_heads, specs_of
from dreamserve_training.models.terms import Term
from dreamserve_training.models.world_model import (
    Batch,
    LossWeights,
    MemorySpec,
    Prediction,
    State,
    WorldModel,
)

CHECKPOINT_CHUNK = 64  # steps between stored activations with gradient checkpointing


class RecurrentModel(WorldModel):
    """A recurrent core and its heads.

    `action_space` is the environment's, with its bounds: an ActionSpace or its fields. Without one,
    `action_dim` is n for Discrete actions and, with `discrete_actions=False`, the number of
    components of continuous actions, which are then taken as they are. `done_dropout` and
    `done_gradient_scale` regularise the done head, which has few positive targets and overfits
    first: dropout of its inputs, and a factor of its gradient into the core; the heads of
    `signals`, which are SignalHeads or their fields by name, are regularised alike. `reward_mean`
    and `reward_scale` are the mean and the standard deviation of the rewards: the reward head
    learns them scaled, so that rewards of every size weigh as much as the next latent. ValueError
    for sizes below 1, a `reward_scale` of 0 or less, and an `action_dim` that does not fit the
    space.
    """

    state_names: ClassVar[tuple[str, ...]]  # of shape (rnn_size,) each; the heads read the first

    def __init__(
        self,
        z_dim: int,
        action_dim: int | None = None,
        rnn_size: int = 256,
        num_mixtures: int = 5,
        head: Head = "per_dimension",
        predict_reward: bool = False,
        predict_done: bool = False,
        discrete_actions: bool = True,
        done_dropout: float = 0.0,
        done_gradient_scale: float = 1.0,
        gradient_checkpointing: bool = False,
        action_space: ActionSpace | Mapping[str, Any] | None = None,
        signals: Mapping[str, SignalHead | Mapping[str, Any]] | None = None,
        reward_mean: float = 0.0,
        reward_scale: float = 1.0,
    ) -> None:
        # before any other local variable exists
        config: dict[str, Any] = {k: v for k, v in locals().items() if k not in _NOT_OPTIONS}
        super().__init__()
        sizes = {"z_dim": z_dim, "rnn_size": rnn_size, "num_mixtures": num_mixtures}
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {size!r}")
        if reward_scale <= 0:
            raise ValueError(f"reward_scale must be above 0, not {reward_scale}")
        space = as_space(config.pop("action_space"))
        self.action_input = action_input_of(space, action_dim, discrete_actions)
        if space is not None:
            config["action_space"] = space.model_dump(mode="json")
        self.signals = as_heads(config.pop("signals"))
        if self.signals:
            config["signals"] = as_config(self.signals)
        self.config = config
        self.z_dim, self.action_dim = z_dim, self.action_input.size
        self.rnn_size, self.num_mixtures = rnn_size, num_mixtures
        self.head: Head = head
        self.predict_reward, self.predict_done = predict_reward, predict_done
        self.reward_mean, self.reward_scale = reward_mean, reward_scale
        self.discrete_actions = isinstance(self.action_input.space, DiscreteSpace)
        self.done_gradient_scale = done_gradient_scale
        self.gradient_checkpointing = gradient_checkpointing
        self.make_core()
        self.mdn_head = nn.Linear(rnn_size, head_size(head, num_mixtures, z_dim))
        self.reward_head = nn.Linear(rnn_size, 1) if predict_reward else None
        self.done_head = nn.Linear(rnn_size, 1) if predict_done else None
        self.signals_head = nn.Linear(rnn_size, len(self.signals)) if self.signals else None
        self.done_dropout = nn.Dropout(done_dropout)

    @abstractmethod
    def make_core(self) -> None:
        """Make the layers that map inputs (z_dim + action_dim,) to outputs (rnn_size,)."""

    @abstractmethod
    def run_core(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, State]:
        """Return the outputs (B, T, R) of inputs (B, T, Z + A), and the state after them."""

    @abstractmethod
    def cell(self) -> nn.Module:
        """Return one step to export: (latent (B, Z), action (B, A), *state) → next state."""

    def forward(self, z: Tensor, actions: Tensor, state: State | None = None) -> Prediction:
        """Run over sequences: z (B, T, Z), actions (B, T, …) of the action space.

        `state` defaults to zeros. Raises ValueError for z or actions of another shape.
        """
        inputs = self._inputs(z, actions)
        start = state if state is not None else self.initial_state(len(inputs), inputs)
        outputs, state = self._run_chunks(inputs, start)
        mixture = split_parameters(self.mdn_head(outputs), self.head, self.num_mixtures, self.z_dim)
        reward = self.reward_head(outputs).squeeze(-1) if self.reward_head else None
        reward = unscaled(reward, self.reward_mean, self.reward_scale)
        rare = self._regularised(outputs)
        done_logit = self.done_head(rare).squeeze(-1) if self.done_head else None
        signals = self.signals_head(rare).unbind(-1) if self.signals_head else ()
        return Prediction(mixture, reward, done_logit, state, signals)

    def loss_terms(self, output: Prediction, batch: Batch, weights: LossWeights) -> dict[str, Term]:
        """Return the terms that `prediction_losses` describes."""
        return prediction_losses(output, batch, weights, self.signals, self.reward_scale)

    def spec(self) -> MemorySpec:
        """Return the fields of the world's spec that depend on M."""
        return MemorySpec(
            self.z_dim,
            tuple(TensorSpec(name=name, shape=(self.rnn_size,)) for name in self.state_names),
            GaussianMixture(form=self.head, components=self.num_mixtures),
            NoiseSpec(normal=self.z_dim, uniform=self._uniforms()),
            specs_of(self.signals),
        )

    def _uniforms(self) -> int:
        """Return how many uniforms select the components of a draw; one alone needs none."""
        if self.num_mixtures == 1:
            return 0
        return self.z_dim if self.head == "per_dimension" else 1

    def shift_done_logit(self, offset: float) -> None:
        """Add `offset` to the done head's bias, if there is one."""
        if self.done_head is not None:
            with torch.no_grad():
                self.done_head.bias.add_(offset)

    def graph(self) -> nn.Module:
        """Return `predict` as a traceable module with its own weights."""
        return RecurrentGraph(self)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the initial state: zeros (batch, R) with the device and dtype of `like`."""
        return tuple(like.new_zeros(batch, self.rnn_size) for _ in self.state_names)

    def _inputs(self, z: Tensor, actions: Tensor) -> Tensor:
        if z.ndim != 3 or z.shape[-1] != self.z_dim:
            raise ValueError(f"z must be (B, T, {self.z_dim}), not {tuple(z.shape)}")
        self.action_input.check(actions, tuple(z.shape[:2]))
        return torch.cat([z, self.action_input(actions).to(z.dtype)], dim=-1)

    def _run_chunks(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        if not (self.gradient_checkpointing and self.training):
            return self.run_core(inputs, *state)
        chunks = []
        for chunk in torch.split(inputs, CHECKPOINT_CHUNK, dim=1):
            output, state = checkpoint(self.run_core, chunk, *state, use_reentrant=False)
            chunks.append(output)
        return torch.cat(chunks, dim=1), state

    def _regularised(self, outputs: Tensor) -> Tensor:
        """Return the inputs of heads that have few positive targets."""
        scale = self.done_gradient_scale
        scaled = scale * outputs + (1 - scale) * outputs.detach() if scale != 1 else outputs
        regularised: Tensor = self.done_dropout(scaled)
        return regularised


class RecurrentGraph(nn.Module):
    """One step of a recurrent model: its cell, and all heads as one Gemm.

    For small batches one Gemm is faster than several.
    """

    def __init__(self, model: RecurrentModel) -> None:
        super().__init__()
        self.z_dim, self.num_mixtures, self.head = model.z_dim, model.num_mixtures, model.head
        self.action_input = model.action_input
        self.predict_reward, self.predict_done = model.predict_reward, model.predict_done
        self.reward_mean, self.reward_scale = model.reward_mean, model.reward_scale
        self.cell = model.cell()
        self.signals = len(model.signals)
        heads = [model.mdn_head, model.reward_head, model.done_head, model.signals_head]
        present = [head for head in heads if head is not None]
        self.heads = linear(
            torch.cat([head.weight for head in present]), torch.cat([head.bias for head in present])
        )
        self.head_sizes = [head.out_features for head in present]

    def forward(self, latent: Tensor, action: Tensor, *state: Tensor) -> Prediction:
        """Predict from latent (B, Z), action (B, …) of the space, and state (B, R) each."""
        state = self.cell(latent, self.action_input(action), *state)
        parts = list(self.heads(state[0]).split(self.head_sizes, dim=-1))
        mixture: Mixture = split_parameters(parts.pop(0), self.head, self.num_mixtures, self.z_dim)
        reward = parts.pop(0).squeeze(-1) if self.predict_reward else None
        reward = unscaled(reward, self.reward_mean, self.reward_scale)
        done_logit = parts.pop(0).squeeze(-1) if self.predict_done else None
        signals = parts.pop(0).unbind(-1) if self.signals else ()
        return Prediction(mixture, reward, done_logit, state, signals)


def unscaled(reward: Tensor | None, mean: float, scale: float) -> Tensor | None:
    """Return a scaled reward as the environment's. Without a scale, no operator is added."""
    if reward is None or (mean, scale) == (0.0, 1.0):
        return reward
    return reward * scale + mean


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a frozen layer with copies of `weight` (O, I) and `bias` (O,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer


_NOT_OPTIONS = {"self", "__class__"}
