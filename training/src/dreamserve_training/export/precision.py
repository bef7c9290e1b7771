"""Round weights to half precision, as a bundle stores them.

Rounding comes first, so that measurements and checks use the numbers that are served. Computation
stays in float32.
"""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

from dreamserve_training.export.errors import ExportError
from dreamserve_training.models.vae import ConvVAE
from dreamserve_training.models.world_model import WorldModel

Module = TypeVar("Module", bound=nn.Module)
Memory = TypeVar("Memory", bound=WorldModel)


def round_to_half(vae: ConvVAE, memory: Memory) -> tuple[ConvVAE, Memory]:
    """Return copies, in evaluation mode, whose weights are exactly representable in float16.

    M's weights are brought into the form that its graph stores. The function is idempotent.
    Raises ExportError for a weight that float16 cannot hold.
    """
    memory = deepcopy(memory)
    memory.fold()
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
