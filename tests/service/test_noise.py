"""The random numbers: their moments, their independence, and that they never change."""

from itertools import combinations

import numpy as np
import pytest
import torch

from dreamserve import noise
from dreamserve.backends import torch_noise
from dreamserve.engine.imagination.trajectories import subseeds, uniforms
from dreamserve.manifest import DoneRule


def keys(count: int, stream: int = noise.STEP, step: int = 1) -> np.ndarray:
    seeds = np.arange(count, dtype=np.uint64)
    return noise.keys(seeds, np.full(count, step, np.int64), stream)


def test_normals_have_the_moments_of_the_normal_distribution() -> None:
    drawn = noise.draw(keys(20_000), 16, 0).astype(np.float64)
    assert abs(drawn.mean()) < 0.005
    assert abs(drawn.var() - 1) < 0.01
    assert abs((drawn**3).mean()) < 0.02
    assert abs((drawn**4).mean() - 3) < 0.05


def test_uniforms_are_even_and_strictly_inside() -> None:
    drawn = noise.draw(keys(50_000), 0, 4)
    assert 0 < drawn.min() < drawn.max() < 1
    counts = np.histogram(drawn, bins=50, range=(0, 1))[0]
    assert np.abs(counts / counts.mean() - 1).max() < 0.08


def key_of(word: int) -> np.ndarray:
    """Return the key (1,) whose first word is `word`."""
    for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
        mixed = word
        for _ in range(3):  # of 64 bits
            word = mixed ^ (word >> shift)
        word = word * pow(factor, -1, 2**64) % 2**64
    return np.array([(word - 0x9E3779B97F4A7C15) % 2**64], np.uint64)


def test_the_rarest_uniforms_are_strictly_inside() -> None:
    """One in 16 million numbers is 1 - 2^-25, which float32 rounds to 1."""
    for word, expected in ((0, 2.0**-25), (2**64 - 1, 1 - 2.0**-24)):
        key = key_of(word)
        assert noise.draw(key, 0, 2).tolist() == [[expected, expected]]
        assert noise.uniforms(key, 0, 2).tolist() == [expected, expected]
        assert torch_noise.draw(torch.from_numpy(key.view(np.int64)), 0, 2).tolist() == [
            [expected, expected]
        ]
        DoneRule(rule="drawn").ends(np.zeros(1, np.float32), noise.uniforms(key, 0, 1))


@pytest.mark.parametrize("normal", [0, 1, 3, 4, 7])
@pytest.mark.parametrize("uniform", [0, 1, 2, 5])
def test_any_count_of_each_can_be_drawn(normal: int, uniform: int) -> None:
    drawn = noise.draw(keys(3), normal, uniform)
    assert drawn.shape == (3, normal + uniform)
    assert drawn.dtype == np.float32


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return abs(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]))


def test_seeds_steps_streams_and_indices_are_independent() -> None:
    base = noise.draw(keys(20_000), 2, 1)
    bound = 4 / np.sqrt(20_000)
    assert correlation(base[:-1, 0], base[1:, 0]) < bound  # neighbouring seeds
    assert correlation(base[:, 0], noise.draw(keys(20_000, step=2), 2, 1)[:, 0]) < bound
    assert correlation(base[:, 0], noise.draw(keys(20_000, noise.PLAN), 2, 1)[:, 0]) < bound
    assert correlation(base[:, 0], base[:, 1]) < bound
    assert correlation(base[:, 0], base[:, 2]) < bound


STREAMS = {
    name: value
    for name, value in vars(noise).items()
    if name.isupper() and name[0] != "_" and isinstance(value, int)
}


def test_every_purpose_has_a_stream() -> None:
    assert {"RESET", "STEP", "SAMPLE", "PLAN", "ACTION", "ROLLOUT"} <= STREAMS.keys()


@pytest.mark.parametrize(("one", "other"), list(combinations(STREAMS, 2)))
def test_two_streams_draw_different_numbers(one: str, other: str) -> None:
    drawn, others = (noise.draw(keys(5, STREAMS[name]), 4, 2) for name in (one, other))
    assert (drawn != others).all()


def test_a_row_is_drawn_alike_in_any_batch() -> None:
    whole = noise.draw(keys(100), 5, 3)
    np.testing.assert_array_equal(noise.draw(keys(100)[41:42], 5, 3), whole[41:42])


def test_the_numbers_never_change() -> None:
    key = noise.keys(np.array([42], np.uint64), np.array([7]), noise.STEP)
    assert key.tolist() == [4716149632514214234]
    np.testing.assert_array_equal(
        noise.draw(key, 3, 2)[0],
        np.float32(
            [
                -0.9864885807037354,
                0.8431950807571411,
                -0.22175204753875732,
                0.6756423711776733,
                0.8128417730331421,
            ]
        ),
    )
    assert noise.integers(key, 1000).tolist() == [773]


def test_seeds_of_trajectories_differ_and_follow_from_one_seed() -> None:
    seeds = subseeds(5, 1000, noise.SAMPLE)
    assert len(set(seeds.tolist())) == 1000
    np.testing.assert_array_equal(seeds[:10], subseeds(5, 10, noise.SAMPLE))


def test_uniforms_for_actions_have_any_shape() -> None:
    drawn = uniforms(3, 0, (4, 5, 2))
    assert drawn.shape == (4, 5, 2)
    assert not np.array_equal(drawn, uniforms(3, 1, (4, 5, 2)))
