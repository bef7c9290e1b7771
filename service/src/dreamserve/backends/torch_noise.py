"""`dreamserve.noise.draw` in torch: the same numbers to the bit, on any device.

torch has no unsigned 64-bit arithmetic, but int64 wraps as uint64 does, and a right shift that
fills with ones differs from one that fills with zeros only in bits that a mask takes away.
"""

from typing import Any

import torch
from torch import Tensor

from dreamserve import noise

_GAMMA = 0x9E3779B97F4A7C15
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

# All of `_words` in one kernel. A graph of a step holds some forty small ones, and each costs its
# launch, so that a dozen fewer are felt.
_FUSED = """
template <typename T> T dreamserve_noise(T key, T counter, T shift, T mask) {
  unsigned long long word = (unsigned long long)key + (unsigned long long)counter;
  word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ull;
  word = (word ^ (word >> 27)) * 0x94D049BB133111EBull;
  word = word ^ (word >> 31);
  return (T)((word >> (int)shift) & (unsigned long long)mask);
}
"""


class Noise:
    """Draws noise of one size on one device; holds the tables that this takes.

    Drawing neither waits for the device nor looks at the host, so a CUDA graph may record it. The
    graph reads the tables at each replay: keep this object for as long as the graph.
    """

    def __init__(self, normal: int, uniform: int, device: torch.device) -> None:
        self._normal = normal
        self._quantiles = torch.tensor(noise.NORMAL_QUANTILES, device=device)
        # Where each number's bits are: in which word (from 1), how far up, and how many of them.
        words = -(-normal // 4)
        normals = [(1 + i // 4, 16 * (i % 4), 0xFFFF) for i in range(normal)]
        uniforms = [(1 + words + i // 2, 32 * (i % 2) + 8, 0xFFFFFF) for i in range(uniform)]
        places = [(_signed(word * _GAMMA), up, mask) for word, up, mask in normals + uniforms]
        table = torch.tensor(places, dtype=torch.int64).reshape(-1, 3).T.contiguous().to(device)
        self._places = tuple(table)  # three times (normal + uniform,)
        self._half = torch.tensor(2.0**-25, device=device)
        self._fused = _fused(self._places) if device.type == "cuda" else None

    def draw(self, keys: Tensor) -> Tensor:
        """Return (B, normal + uniform) float32 for keys (B,) int64, the bits of uint64 ones."""
        words = self._fused or _words
        bits: Tensor = words(keys.unsqueeze(1), *self._places)
        normals = self._quantiles[bits[:, : self._normal]]
        # exact until the addition, so that it may well be rounded once or twice
        uniforms = torch.add(self._half, bits[:, self._normal :].float(), alpha=2.0**-24)
        return torch.cat([normals, uniforms], dim=1)


def _words(keys: Tensor, counters: Tensor, shifts: Tensor, masks: Tensor) -> Tensor:
    """Return the masked bits (B, n) of SplitMix64's words: keys (B, 1), the rest (n,) int64."""
    words = keys + counters
    words = (words ^ _shifted(words, 30)) * _signed(_MIX_1)
    words = (words ^ _shifted(words, 27)) * _signed(_MIX_2)
    words = words ^ _shifted(words, 31)
    return (words >> shifts) & masks


def _shifted(words: Tensor, places: int) -> Tensor:
    return (words >> places) & ((1 << (64 - places)) - 1)


def _signed(word: int) -> int:
    """Return the int64 of the same 64 lowest bits."""
    return (word + 2**63) % 2**64 - 2**63


def _fused(places: tuple[Tensor, ...]) -> Any:
    """Return `_FUSED` as a function of tensors, or None where it does not answer as `_words`.

    torch compiles it on the spot, through an interface that is still called beta.
    """
    keys = torch.arange(-512, 512, device=places[0].device).unsqueeze(1) * _signed(_MIX_2)
    try:
        fused = torch.cuda.jiterator._create_jit_fn(_FUSED)
        answer = fused(keys, *places)
    except Exception:  # beta: no compiler, no such function, whatever; slower is not wrong
        return None
    return fused if torch.equal(answer, _words(keys, *places)) else None
