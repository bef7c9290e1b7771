"""The MDN-RNN: an LSTM core under a mixture density head (Ha & Schmidhuber 2018, A.2)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dreamserve_training.models.recurrent import RecurrentModel, linear
from dreamserve_training.models.world_model import State

_HALF_ROUNDING = 1e-2


class MDNRNN(RecurrentModel):
    """LSTM and heads; the arguments are those of `RecurrentModel`."""

    name = "mdnrnn"
    state_names = ("h", "c")

    def make_core(self) -> None:
        """Make the LSTM, its forget gate's bias at 1, so that memory lasts from the start."""
        self.lstm = nn.LSTM(self.z_dim + self.action_dim, self.rnn_size, batch_first=True)
        with torch.no_grad():
            for bias in (self.lstm.bias_ih_l0, self.lstm.bias_hh_l0):
                bias.zero_()
            self.lstm.bias_ih_l0[self.rnn_size : 2 * self.rnn_size] = 1.0

    def run_core(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, State]:
        """Return the LSTM's output (B, T, R) and the last h and c."""
        h, c = state
        outputs, (h, c) = self.lstm(inputs, (h.unsqueeze(0), c.unsqueeze(0)))
        return outputs, (h.squeeze(0), c.squeeze(0))

    def cell(self) -> nn.Module:
        """Return the LSTM cell to export."""
        return LSTMCell(self.lstm)

    def fold(self) -> None:
        """Merge the LSTM's two biases into the first: only their sum is ever stored."""
        with torch.no_grad():
            self.lstm.bias_ih_l0 += self.lstm.bias_hh_l0
            self.lstm.bias_hh_l0.zero_()

    def check_state(self, state: Mapping[str, Tensor]) -> None:
        """Raise ValueError where no LSTM can have left h and c: h = o · tanh(c), 0 < o < 1.

        That is how h and c given in each other's place are found out.
        """
        if bool((state["h"].abs() > state["c"].abs().tanh() + _HALF_ROUNDING).any()):
            raise ValueError("|h| exceeds tanh|c|: are state.h and state.c swapped?")


class LSTMCell(nn.Module):
    """An LSTM's step with its gates as one Gemm over [z, a, h], faster than the LSTM operator."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.size = lstm.hidden_size
        self.gates = linear(
            torch.cat([lstm.weight_ih_l0, lstm.weight_hh_l0], dim=1),
            lstm.bias_ih_l0 + lstm.bias_hh_l0,
        )

    def forward(self, latent: Tensor, action: Tensor, h: Tensor, c: Tensor) -> State:
        """Return h and c (B, R) after the step."""
        gates = self.gates(torch.cat([latent, action, h], dim=-1))  # (B, 4R)
        enter, forget, cell, leave = gates.split(self.size, dim=-1)  # torch's order: i, f, g, o
        c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(cell)
        return torch.sigmoid(leave) * torch.tanh(c), c
