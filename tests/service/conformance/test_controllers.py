"""A bundle's linear controller is tried as /rollout runs it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamserve.conformance.suite import check_bundle

from .worlds import write_world

WEIGHTS = np.array([[1, -1], [0, 1], [-1, 0]], np.float32)


def findings(path: Path, weights: Any, inputs: tuple[str, ...] = ("latent",)) -> list[str]:
    arrays = {"weights": weights, "bias": np.zeros(3)}
    report = check_bundle(write_world(path / "world", controller=arrays, inputs=inputs))
    return [f"{one.level} {one.check}: {one.text}" for one in report.findings]


def test_a_controller_that_acts_by_the_dream_is_sound(tmp_path: Path) -> None:
    assert findings(tmp_path, WEIGHTS) == []


def test_its_inputs_are_those_that_the_manifest_names(tmp_path: Path) -> None:
    weights = np.concatenate([WEIGHTS, np.zeros((3, 5))], axis=1)
    assert findings(tmp_path, weights, ("latent", "h", "latent")) == []


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        (0 * WEIGHTS, "warning policy: controller: takes the action 0 at all moments"),
        (3e38 * WEIGHTS, "error policy: controller: scores holds NaN or infinity in dreams"),
    ],
)
def test_a_controller_that_ignores_the_dream_or_overflows_is_told(
    tmp_path: Path, weights: Any, found: str
) -> None:
    (finding,) = findings(tmp_path, weights)
    assert finding.startswith(found)
