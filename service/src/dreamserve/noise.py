"""Counter-based noise: each number is a pure function of (seed, stream, step, index).

SplitMix64 (Steele, Lea, Flood 2014) run as a counter: word i of a key is mix(key + (i + 1)·γ).
Integer arithmetic only, then a table look-up for the normals, so the noise is the same to the bit
in any batch, process and on any machine or device. Normals take 16 bits each and come from the
65,536 midpoint quantiles of the normal distribution, scaled to unit variance (largest: 4.3 sigma);
uniforms take 32 bits and lie strictly inside (0, 1).
"""

from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]
Float32 = npt.NDArray[np.float32]

UNIFORMS = LEAST_UNIFORM, MOST_UNIFORM = 2.0**-25, 1 - 2.0**-24  # the smallest and the largest one

# Streams: numbers for different purposes are independent.
RESET, STEP, SAMPLE, PLAN, ACTION, ROLLOUT, RESTART = 1, 2, 3, 4, 5, 6, 7

_GAMMA_INT = 0x9E3779B97F4A7C15
_GAMMA = np.uint64(_GAMMA_INT)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S8 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint32(8)


def _normal_quantiles() -> Float32:
    """Return the midpoint quantiles of N(0, 1), scaled to a variance of exactly one."""
    inverse = NormalDist().inv_cdf
    lower = np.array([inverse((i + 0.5) / 65536) for i in range(32768)])
    values = np.concatenate([lower, -lower[::-1]])
    quantiles: Float32 = (values / values.std()).astype(np.float32)
    return quantiles


NORMAL_QUANTILES = _normal_quantiles()


def _mix(words: UInt64) -> UInt64:
    words = (words ^ (words >> _S30)) * _MIX_1
    words = (words ^ (words >> _S27)) * _MIX_2
    return words ^ (words >> _S31)


def keys(seeds: UInt64, steps: npt.NDArray[np.int64], stream: int) -> UInt64:
    """Return one key per row, shape (B,), from each row's seed and step."""
    return keys_at(stream_keys(seeds, stream), steps)


def stream_keys(seeds: UInt64, stream: int) -> UInt64:
    """Return the part of each row's keys, (B,), that is the same at every step of a stream."""
    return _mix(seeds + np.uint64(stream * _GAMMA_INT % 2**64))


def keys_at(stream_key: UInt64, steps: npt.NDArray[np.int64]) -> UInt64:
    """Return each row's key at its step, (B,), from its stream key (B,)."""
    return _mix(stream_key ^ (steps.view(np.uint64) + np.uint64(1)) * _GAMMA)


def draw(row_keys: UInt64, normal: int, uniform: int) -> Float32:
    """Return (B, normal + uniform) float32: standard normals first, then uniforms in (0, 1)."""
    normal_words, uniform_words = -(-normal // 4), -(-uniform // 2)
    words = _mix(row_keys[:, None] + _counters(normal_words + uniform_words))  # (B, W)
    noise = np.empty((len(row_keys), normal + uniform), np.float32)
    if normal:
        bits = np.ascontiguousarray(words[:, :normal_words]).view("<u2")
        noise[:, :normal] = NORMAL_QUANTILES.take(bits[:, :normal])
    if uniform:
        bits32 = np.ascontiguousarray(words[:, normal_words:]).view("<u4")[:, :uniform]
        noise[:, normal:] = _inside(bits32)
    return noise


def uniforms(key: UInt64, first: int, count: int) -> Float32:
    """Return numbers `first` to `first` + `count` of `draw(key, 0, …)` for one key (1,)."""
    begin, end = first // 2, -(-(first + count) // 2)
    words = _mix(key + np.arange(begin + 1, end + 1, dtype=np.uint64) * _GAMMA)
    return _inside(words.view("<u4")[first % 2 : first % 2 + count])


def _inside(bits32: npt.NDArray[np.uint32]) -> Float32:
    """Return the highest 24 bits as numbers in (0, 1)."""
    numbers = (bits32 >> _S8).astype(np.float32) * np.float32(2**-24) + np.float32(LEAST_UNIFORM)
    inside: Float32 = np.minimum(numbers, np.float32(MOST_UNIFORM))  # the last is rounded to 1
    return inside


@cache
def _counters(words: int) -> UInt64:
    return np.arange(1, words + 1, dtype=np.uint64) * _GAMMA


def integers(row_keys: UInt64, below: int) -> npt.NDArray[np.int64]:
    """Return one integer per row in [0, below), shape (B,)."""
    return (_mix(row_keys + _GAMMA) % np.uint64(below)).astype(np.int64)
