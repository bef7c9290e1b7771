"""A policy's layers as a torch module, to be trained or exported."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from dreamserve_training.models.controller import Layer


def network(sizes: Sequence[int]) -> nn.Sequential:
    """Return linear layers from sizes[0] inputs to sizes[-1] outputs, with tanh between them."""
    first, *others = (nn.Linear(*pair) for pair in pairwise(sizes))
    return nn.Sequential(first, *(part for layer in others for part in (nn.Tanh(), layer)))


def network_of(layers: Sequence[Layer]) -> nn.Sequential:
    """Return a network with copies of these layers."""
    made = network([layers[0].weights.shape[1], *(len(layer.bias) for layer in layers)])
    for module, layer in zip(linear_layers(made), layers, strict=True):
        copy_layer(layer, module)
    return made


def linear_layers(module: nn.Sequential) -> list[nn.Linear]:
    """Return the linear layers of a network."""
    return [layer for layer in module if isinstance(layer, nn.Linear)]


@torch.no_grad()
def copy_layer(layer: Layer, into: nn.Linear, scale: float = 1.0) -> None:
    """Copy a layer, scaled, into a module of its size."""
    into.weight.copy_(torch.from_numpy(scale * layer.weights))
    into.bias.copy_(torch.from_numpy(scale * layer.bias))


def layers_of(module: nn.Sequential) -> tuple[Layer, ...]:
    """Return copies of the layers of a network."""
    return tuple(
        Layer(*(part.detach().cpu().numpy().copy() for part in (layer.weight, layer.bias)))
        for layer in linear_layers(module)
    )
