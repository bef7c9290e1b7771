"""`dreamserve.noise.draw` in torch: the same numbers to the bit, on any device.

torch has no unsigned 64-bit arithmetic, but int64 wraps as uint64 does, and an arithmetic right
shift differs from a logical one only in bits that a mask removes.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from dreamserve import noise

_GAMMA = 0x9E3779B97F4A7C15
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class _Tables(NamedTuple):
    """Lookup tables of `draw`, on one device."""

    quantiles: Tensor
    # The position of each number's bits, (normal + uniform,) int64 each.
    counters: Tensor  # added to the key, gives the word
    shifts: Tensor  # of the bits in the word
    masks: Tensor  # of the bits after the shift


@cache
def _tables(normal: int, uniform: int, device: torch.device) -> _Tables:
    words = -(-normal // 4)
    normals = [(1 + i // 4, 16 * (i % 4), 0xFFFF) for i in range(normal)]
    uniforms = [(1 + words + i // 2, 32 * (i % 2) + 8, 0xFFFFFF) for i in range(uniform)]
    rows = [(_signed(word * _GAMMA), shift, mask) for word, shift, mask in normals + uniforms]
    columns = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3).T.contiguous().to(device)
    return _Tables(torch.tensor(noise.NORMAL_QUANTILES, device=device), *columns)


def draw(keys: Tensor, normal: int, uniform: int) -> Tensor:
    """Return (B, normal + uniform) float32 for keys (B,), the bits of uint64 as int64."""
    tables = _tables(normal, uniform, keys.device)
    bits = (_words(keys.unsqueeze(1) + tables.counters) >> tables.shifts) & tables.masks
    normals = tables.quantiles[bits[:, :normal]]
    uniforms = bits[:, normal:].float() * 2.0**-24 + noise.LEAST_UNIFORM  # as the host rounds
    uniforms = uniforms.clamp(max=noise.MOST_UNIFORM)
    return torch.cat([normals, uniforms], dim=1)


def _words(words: Tensor) -> Tensor:
    """Return SplitMix64's outputs for counters `words`, int64 of any shape."""
    words = (words ^ _shifted(words, 30)) * _signed(_MIX_1)
    words = (words ^ _shifted(words, 27)) * _signed(_MIX_2)
    return words ^ _shifted(words, 31)


def _shifted(words: Tensor, places: int) -> Tensor:
    return (words >> places) & ((1 << (64 - places)) - 1)


def _signed(word: int) -> int:
    """Return the int64 with the same 64 lowest bits."""
    return (word + 2**63) % 2**64 - 2**63
