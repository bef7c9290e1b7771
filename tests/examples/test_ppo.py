"""examples/ppo.py runs to its end, with so little to do that it takes seconds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300  # for a busy machine


@pytest.mark.slow
def test_ppo_trains_in_dreams_and_plays_the_game(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3", reason="pip install 'dreamserve-client[sb3]'")
    pytest.importorskip("vizdoom", reason="pip install vizdoom")
    command = [sys.executable, str(ROOT / "examples/ppo.py")]
    little = "--dreams 8 --steps 512 --dream-steps 5 --real-episodes 2 --real-steps 5"
    bundle = ["--bundle", str(ROOT / "bundles/takecover")]
    ran = subprocess.run(
        [*command, *bundle, *little.split()],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=tmp_path,  # ViZDoom writes where it runs
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    rows = re.findall(r"^\| (\w+) \| 5 \|(.*)\|$", ran.stdout, re.MULTILINE)
    assert rows == [("random", " 5 (0) "), ("before", "  "), ("after", " 5 (0) ")]
