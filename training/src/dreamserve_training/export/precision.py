"""Round weights to half precision, as a bundle stores them.

Rounding comes first, so that measurements and checks use the weights that are served. Computation
stays in float32.
"""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

from dreamserve_training.export.errors import ExportError
from dreamserve_training.models.catalog import Vision
from dreamserve_training.models.world_model import WorldModel

Module = TypeVar("Module", bound=nn.Module)
Memory = TypeVar("Memory", bound=WorldModel)
V = TypeVar("V", bound=Vision)


def round_to_half(vae: V, memory: Memory) -> tuple[V, Memory]:
    """Return float32 copies, in evaluation mode, whose weights are rounded to float16.

    M's weights are folded first, as its graph stores them. The function is idempotent. Raises
    ExportError for a weight beyond float16's range.
    """
    memory = deepcopy(memory)
    memory.fold()
    return half_precision(vae), half_precision(memory)


def half_precision(module: Module) -> Module:
    """Return a float32 copy of `module`, in evaluation mode, with weights rounded to float16.

    Raises ExportError for a weight beyond float16's range.
    """
    module = deepcopy(module).float().eval()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(weight.half().float())
            if not bool(torch.isfinite(weight).all()):
                raise ExportError(
                    f"{type(module).__name__}.{name} holds weights that are not finite in half"
                    " precision (float16 ends at 65,504)"
                )
    return module
