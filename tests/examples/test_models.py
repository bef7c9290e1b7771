"""The examples of models of other kinds: each writes a bundle, which is served and planned with."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamserve.bundle import load_bundle
from dreamserve.local import LocalClient
from dreamserve.manifest import Manifest
from dreamserve.testing import check_bundle

MODELS = Path(__file__).parents[2] / "examples" / "models"
SEEN = {
    "rssm": {"frames": np.zeros((3, 8, 8, 1), np.uint8), "actions": [1, 2]},
    "latent": {"vectors": np.zeros((3, 2), np.float32), "actions": [[1.5], [-2.0]]},
}


def written(name: str, folder: Path) -> Path:
    """Run the example, with little training, and return its bundle."""
    command = [sys.executable, MODELS / f"{name}.py", folder / name, "--updates", "5"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {folder / name}, loss ")
    return folder / name


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEN)
def test_a_model_of_another_kind_keeps_the_contract_is_served_and_planned_with(
    name: str, tmp_path: Path
) -> None:
    bundle = written(name, tmp_path)
    assert not check_bundle(bundle).errors()
    manifest: Manifest = load_bundle(bundle).manifest
    client = LocalClient(bundle)
    seen: Any = SEEN[name]
    session = client.reset(seed=1, start=seen)
    again = client.reset(seed=1, start=seen)
    assert np.array_equal(session.latent, again.latent)
    plan = client.plan(session_id=session.session_id, horizon=4)
    assert len(plan.actions) == 4
    assert np.isfinite(plan.value)
    step = client.step(session_id=session.session_id, action=plan.actions[0])
    assert np.isfinite(step.reward)
    assert not step.terminated
    assert step.latent.shape == (manifest.latent_size,)
