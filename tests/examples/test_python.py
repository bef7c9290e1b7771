"""Every Python example runs, tiny, against a real server and in the real game."""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True, scope="module")
def _game() -> None:
    pytest.importorskip("vizdoom", reason="pip install 'dreamserve-training[vizdoom]'")


@pytest.mark.slow
def test_planning_plays_the_real_game(run: Any, url: str) -> None:
    printed = run(
        *(sys.executable, EXAMPLES / "mpc.py", "--url", url), "--episodes", "2", "--max-steps", "12"
    )
    assert printed == "seed 1000000: 12 steps\nseed 1000001: 12 steps\n"


@pytest.mark.slow
def test_evolution_prints_its_generations_saves_its_policy_and_plays(
    run: Any, url: str, tmp_path: Path
) -> None:
    tiny = "--generations 2 --candidates 4 --episodes 2 --max-steps 8 --real 1"
    command = [sys.executable, EXAMPLES / "evolve.py", "--url", url, *shlex.split(tiny)]
    printed = run(*command).splitlines()
    generations, (wrote, played) = printed[:2], printed[2:]
    for number, line in enumerate(generations, 1):
        assert re.fullmatch(rf"generation {number}: mean \d+\.\d, best \d+\.\d", line)
    assert (wrote, played) == ("wrote policy.npz", "real seed 1000000: 8 steps")
    with np.load(tmp_path / "policy.npz") as saved:
        assert saved["weights"].shape == (3, 576)
        assert saved["bias"].shape == (3,)
        assert np.any(saved["weights"])


@pytest.mark.slow
def test_ppo_trains_in_dreams_and_plays_the_real_game(run: Any) -> None:
    pytest.importorskip("stable_baselines3", reason="pip install 'dreamserve-client[sb3]'")
    bundle = EXAMPLES.parent / "bundles" / "takecover"
    tiny = "--dreams 8 --steps 512 --episodes 2 --max-steps 5"
    printed = run(sys.executable, EXAMPLES / "ppo.py", "--bundle", bundle, *shlex.split(tiny))
    rows = re.findall(r"^\| (\w+) \| 5 \| (.*) \|$", printed, re.MULTILINE)
    assert rows == [("random", "5 (0)"), ("before", ""), ("after", "5 (0)")]


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_a_script_begins_with_what_it_does_and_its_command(example: Path) -> None:
    first, *lines = example.read_text().split('"""')[1].splitlines()
    assert first.endswith(".")
    assert any(re.match(rf"    \S*python examples/{example.name}", line) for line in lines)
    assert len(example.read_text().splitlines()) < 130
