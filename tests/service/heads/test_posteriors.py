"""Draws from an observation's posterior: which may overflow, and what preparing a bank takes."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from dreamserve import noise
from dreamserve.heads import Categorical, Deterministic, GaussianMixture, LatentHead
from dreamserve.heads import categorical as categorical_module

GAUSSIAN = GaussianMixture(form="joint", components=1)
LARGEST = float(np.finfo(np.float32).max)


def arrays(*values: Any) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(value, np.float32) for value in values)


@pytest.mark.parametrize(
    ("mu", "logvar", "row"),
    [(0, 300, 2), (3.3e38, 172, 2), (-LARGEST, 175, 2), (LARGEST, -1000, None), (0, 170, None)],
)
def test_a_moment_of_which_a_draw_may_overflow_is_found(
    mu: float, logvar: float, row: int | None
) -> None:
    means, logvars = np.zeros((2, 5, 3), np.float32)
    means[2:, 1], logvars[2:, 1] = mu, logvar
    assert GAUSSIAN.overflows((means, logvars)) == row
    seeds = np.arange(20_000, dtype=np.uint64)
    prepared = GAUSSIAN.prepared((means[2:3], logvars[2:3]))
    drawn = GAUSSIAN.draw(prepared, noise.keys(seeds, np.zeros(20_000, np.int64), noise.RESET))
    assert np.isfinite(drawn).all() == (row is None)


@pytest.mark.parametrize("head", [GAUSSIAN, Categorical(groups=2, classes=3), Deterministic()])
def test_no_rows_give_no_latents(head: LatentHead) -> None:
    posterior = tuple(np.zeros((0, *shape), np.float32) for shape in head.posterior(6).values())
    drawn = head.draw(head.prepared(posterior), np.zeros(0, np.uint64))
    assert drawn.shape == (0, 6)


@pytest.mark.parametrize("head", [Categorical(groups=2, classes=3), Deterministic()])
def test_other_heads_draw_finite_latents_from_finite_numbers(head: LatentHead) -> None:
    posterior = tuple(
        np.full((4, *shape), LARGEST, np.float32) for shape in head.posterior(6).values()
    )
    assert head.overflows(posterior) is None
    keys = noise.keys(np.arange(4, dtype=np.uint64), np.zeros(4, np.int64), noise.RESET)
    assert np.isfinite(head.draw(head.prepared(posterior), keys)).all()


def test_a_bank_of_classes_is_prepared_as_each_of_its_moments_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = Categorical(groups=3, classes=5)
    (logits,) = arrays(5 * np.random.default_rng(0).standard_normal((50, 3, 5)))
    (whole,) = head.prepared((logits,))
    monkeypatch.setattr(categorical_module, "_AT_ONCE", 100)
    (sliced,) = head.prepared((logits,))
    alone = np.concatenate([head.prepared((logits[i : i + 1],))[0] for i in range(50)])
    assert whole.shape == (50, 3, 4)
    assert sliced.tobytes() == whole.tobytes() == alone.tobytes()


def test_preparing_a_bank_of_classes_takes_little_more_than_its_result() -> None:
    head = Categorical(groups=4, classes=4)
    logits = np.zeros((2**17, 4, 4), np.float32)
    tracemalloc.start()
    try:
        (prepared,) = head.prepared((logits,))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < prepared.nbytes + 2**23


def test_preparing_gaussians_takes_one_array() -> None:
    mu, logvar = np.zeros((2, 2**16, 8), np.float32)
    tracemalloc.start()
    try:
        GAUSSIAN.prepared((mu, logvar))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * logvar.nbytes
