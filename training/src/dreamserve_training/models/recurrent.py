"""M: an LSTM that remembers and predicts, with a mixture density head (Ha & Schmidhuber 2018, A.2).

The head and the reward and done heads all read the LSTM's output after (z_t, a_t): they speak of
z_{t+1}, r_{t+1} and d_{t+1}.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from dreamserve_training.models.checkpoint import load_model, save_model
from dreamserve_training.models.mixture import Head, Mixture, head_size, split_parameters

State = tuple[Tensor, Tensor]
CHECKPOINT_CHUNK = 64  # steps between the activations that gradient checkpointing keeps


class MDNRNNOutput(NamedTuple):
    """What M says of every step of a batch of sequences."""

    mixture: Mixture  # over z_{t+1}; leading axes (B, T)
    reward: Tensor | None  # (B, T)
    done_logit: Tensor | None  # (B, T)
    state: State  # h and c after the last step, (B, R) each


class MDNRNN(nn.Module):
    """LSTM and heads.

    `action_dim` is n for Discrete actions (int64, one-hot inside) and the number of components
    for continuous ones (`discrete_actions=False`). `done_dropout` and `done_gradient_scale` hold
    back the done head, which sees few positives and overfits long before the rest: the one drops
    its inputs, the other scales its gradient into the LSTM.
    """

    def __init__(
        self,
        z_dim: int,
        action_dim: int,
        rnn_size: int = 256,
        num_mixtures: int = 5,
        head: Head = "per_dimension",
        predict_reward: bool = False,
        predict_done: bool = False,
        discrete_actions: bool = True,
        done_dropout: float = 0.0,
        done_gradient_scale: float = 1.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if min(z_dim, action_dim, rnn_size, num_mixtures) < 1:
            raise ValueError("z_dim, action_dim, rnn_size and num_mixtures must be at least 1")
        self.config: dict[str, Any] = {
            "z_dim": z_dim,
            "action_dim": action_dim,
            "rnn_size": rnn_size,
            "num_mixtures": num_mixtures,
            "head": head,
            "predict_reward": predict_reward,
            "predict_done": predict_done,
            "discrete_actions": discrete_actions,
            "done_dropout": done_dropout,
            "done_gradient_scale": done_gradient_scale,
            "gradient_checkpointing": gradient_checkpointing,
        }
        self.z_dim, self.action_dim = z_dim, action_dim
        self.rnn_size, self.num_mixtures = rnn_size, num_mixtures
        self.head: Head = head
        self.predict_reward, self.predict_done = predict_reward, predict_done
        self.discrete_actions = discrete_actions
        self.done_gradient_scale = done_gradient_scale
        self.gradient_checkpointing = gradient_checkpointing
        self.lstm = nn.LSTM(z_dim + action_dim, rnn_size, batch_first=True)
        self.mdn_head = nn.Linear(rnn_size, head_size(head, num_mixtures, z_dim))
        self.reward_head = nn.Linear(rnn_size, 1) if predict_reward else None
        self.done_head = nn.Linear(rnn_size, 1) if predict_done else None
        self.done_dropout = nn.Dropout(done_dropout)
        self._initialise()

    def _initialise(self) -> None:
        """Set the forget gate's bias to 1, so that memory lasts from the start."""
        with torch.no_grad():
            for bias in (self.lstm.bias_ih_l0, self.lstm.bias_hh_l0):
                bias.zero_()
            self.lstm.bias_ih_l0[self.rnn_size : 2 * self.rnn_size] = 1.0

    def forward(self, z: Tensor, actions: Tensor, state: State | None = None) -> MDNRNNOutput:
        """Run over sequences: z (B, T, Z), actions (B, T) int64 or (B, T, A) float.

        `state` is (h, c), each (B, R); zeros if None. Raises ValueError for shapes that do not fit.
        """
        outputs, state = self._remember(self._inputs(z, actions), state)
        mixture = self.split(self.mdn_head(outputs))
        reward = self.reward_head(outputs).squeeze(-1) if self.reward_head else None
        done_logit = self._done_logit(outputs) if self.done_head else None
        return MDNRNNOutput(mixture, reward, done_logit, state)

    def split(self, parameters: Tensor) -> Mixture:
        """Return the mixture that the head's output (…, P) stands for."""
        return split_parameters(parameters, self.head, self.num_mixtures, self.z_dim)

    def encode_actions(self, actions: Tensor) -> Tensor:
        """Return actions as the LSTM reads them: float (…, A)."""
        if self.discrete_actions:
            return functional.one_hot(actions.long(), self.action_dim).to(torch.float32)
        return actions

    def _inputs(self, z: Tensor, actions: Tensor) -> Tensor:
        if z.ndim != 3 or z.shape[-1] != self.z_dim:
            raise ValueError(f"z must be (B, T, {self.z_dim}), not {tuple(z.shape)}")
        expected = z.shape[:2] if self.discrete_actions else (*z.shape[:2], self.action_dim)
        if tuple(actions.shape) != tuple(expected):
            raise ValueError(f"actions must be {tuple(expected)}, not {tuple(actions.shape)}")
        return torch.cat([z, self.encode_actions(actions).to(z.dtype)], dim=-1)

    def _remember(self, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        h, c = state if state is not None else self.initial_state(len(inputs), inputs)
        h, c = h.unsqueeze(0), c.unsqueeze(0)
        if not (self.gradient_checkpointing and self.training):
            outputs, (h, c) = self.lstm(inputs, (h, c))
            return outputs, (h.squeeze(0), c.squeeze(0))
        chunks = []
        for chunk in inputs.split(CHECKPOINT_CHUNK, dim=1):
            output, (h, c) = checkpoint(self.lstm, chunk, (h, c), use_reentrant=False)
            chunks.append(output)
        return torch.cat(chunks, dim=1), (h.squeeze(0), c.squeeze(0))

    def _done_logit(self, outputs: Tensor) -> Tensor:
        scale = self.done_gradient_scale
        held_back = scale * outputs + (1 - scale) * outputs.detach() if scale != 1 else outputs
        assert self.done_head is not None
        return self.done_head(self.done_dropout(held_back)).squeeze(-1)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the empty memory: zeros (batch, R) of `like`'s device and dtype."""
        zeros = like.new_zeros(batch, self.rnn_size)
        return zeros, zeros


def save_mdnrnn(model: MDNRNN, path: str | Path) -> None:
    """Write `model` to `path`, whole or not at all."""
    save_model(model, model.config, path)


def load_mdnrnn(path: str | Path) -> MDNRNN:
    """Read an MDN-RNN; CheckpointError says what is wrong with the file."""
    return load_model(MDNRNN, path)
