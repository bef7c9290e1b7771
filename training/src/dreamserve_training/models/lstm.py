"""The MDN-RNN: an LSTM with a mixture density head (Ha & Schmidhuber 2018, A.2)."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dreamserve_training.models.recurrent import RecurrentModel, linear
from dreamserve_training.models.world_model import State

_FLOAT16_TOLERANCE = 1e-2


class MDNRNN(RecurrentModel):
    """M with an LSTM core; the arguments are those of `RecurrentModel`."""

    name = "mdnrnn"
    state_names = ("h", "c")

    def make_core(self) -> None:
        """Make the LSTM. The forget gate's bias is 1, so an untrained LSTM keeps its state."""
        self.lstm = nn.LSTM(self.z_dim + self.action_dim, self.rnn_size, batch_first=True)
        with torch.no_grad():
            weights = weights_of(self.lstm)
            for bias in (weights.input_bias, weights.state_bias):
                bias.zero_()
            weights.input_bias[self.rnn_size : 2 * self.rnn_size] = 1.0

    def run_core(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, State]:
        """Return the LSTM's output (B, T, R) and the last h and c."""
        h, c = state
        outputs, (h, c) = self.lstm(inputs, (h.unsqueeze(0), c.unsqueeze(0)))
        return outputs, (h.squeeze(0), c.squeeze(0))

    def cell(self) -> nn.Module:
        """Return the LSTM cell to export."""
        return LSTMCell(self.lstm)

    def fold(self) -> None:
        """Add the LSTM's second bias to the first, because the graph stores only their sum."""
        with torch.no_grad():
            weights = weights_of(self.lstm)
            weights.input_bias.add_(weights.state_bias)
            weights.state_bias.zero_()

    def check_state(self, state: Mapping[str, Tensor]) -> None:
        """Raise ValueError if |h| > tanh|c|, which no LSTM outputs: h = o · tanh(c), 0 < o < 1.

        This detects swapped h and c.
        """
        if bool((state["h"].abs() > state["c"].abs().tanh() + _FLOAT16_TOLERANCE).any()):
            raise ValueError("|h| exceeds tanh|c|: are state.h and state.c swapped?")


class LSTMWeights(NamedTuple):
    """The parameters of an LSTM of one layer; the gates are i, f, g, o, R rows each."""

    inputs: nn.Parameter  # (4R, I)
    state: nn.Parameter  # (4R, R)
    input_bias: nn.Parameter  # (4R,)
    state_bias: nn.Parameter  # (4R,)


def weights_of(lstm: nn.LSTM) -> LSTMWeights:
    """Return the parameters of the first layer."""
    return LSTMWeights(*lstm.all_weights[0])


class LSTMCell(nn.Module):
    """One LSTM step as a single Gemm over [z, a, h], which is faster than ONNX's LSTM operator."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.size = lstm.hidden_size
        weights = weights_of(lstm)
        self.gates = linear(
            torch.cat([weights.inputs, weights.state], dim=1),
            weights.input_bias + weights.state_bias,
        )

    def forward(self, latent: Tensor, action: Tensor, h: Tensor, c: Tensor) -> State:
        """Return h and c (B, R) after the step."""
        gates = self.gates(torch.cat([latent, action, h], dim=-1))  # (B, 4R)
        i, f, g, o = torch.split(gates, self.size, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
