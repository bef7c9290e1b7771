"""Half-precision weights: a bundle stores them so, and what it stores is the world.

Rounding comes first, so that every measurement and every check is of the very numbers that are
served. Computation stays in float32.
"""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

from dreamserve_training.export.errors import ExportError
from dreamserve_training.models.recurrent import MDNRNN
from dreamserve_training.models.vae import ConvVAE

Module = TypeVar("Module", bound=nn.Module)


def round_to_half(vae: ConvVAE, mdnrnn: MDNRNN) -> tuple[ConvVAE, MDNRNN]:
    """Return copies, in evaluation mode, whose weights are exactly representable in float16.

    An LSTM's two biases are merged into the first, for only their sum is ever stored. Doing it
    again changes nothing. Raises ExportError for a weight that float16 cannot hold.
    """
    memory = deepcopy(mdnrnn)
    lstm = memory.lstm
    with torch.no_grad():
        lstm.bias_ih_l0 += lstm.bias_hh_l0
        lstm.bias_hh_l0.zero_()
    return half_precision(vae), half_precision(memory)


def half_precision(module: Module) -> Module:
    """Return a float32 copy of `module`, in evaluation mode, every weight rounded to float16.

    Raises ExportError for a weight that float16 cannot hold.
    """
    module = deepcopy(module).float().eval()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(weight.half().float())
            if not bool(torch.isfinite(weight).all()):
                raise ExportError(
                    f"{type(module).__name__}.{name} holds weights that are not finite in half"
                    " precision (float16 ends at 65504)"
                )
    return module
