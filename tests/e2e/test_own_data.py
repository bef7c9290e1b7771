"""The whole way of docs/data.md, as printed: a Minari dataset in, a world, its dreams out."""

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from dreamserve.cli import main
from dreamserve_client import DreamClient
from dreamserve_training.cli import app

DOCUMENT = Path(__file__).parents[2] / "docs" / "data.md"
TINY = """
    memory_options={"rnn_size": 8, "num_mixtures": 2},
    train={"epochs": 1},
    controller={"method": "ppo", "iterations": 1, "dreams": 4, "steps": 3},
    evaluate={"episodes": 2, "dream_temperatures": (1.0,)},
    bank_size=4,
    bank={"draft": 8},
"""


def parts() -> tuple[list[str], list[list[str]]]:
    """Return the section's programs, and its commands as words."""
    text = DOCUMENT.read_text().partition("## The whole way")[2].partition("\n## ")[0]
    programs = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return programs, [line.split() for line in re.findall(r"^    (dreamserve.*)$", text, re.M)]


def run(program: str) -> str:
    """Run a program of the document, and return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(program, str(DOCUMENT), "exec"), {})
    return printed.getvalue()


def command(words: list[str]) -> str:
    """Run a command of the document, and return what it prints."""
    result = CliRunner().invoke({"dreamserve": main, "dreamserve-train": app}[words[0]], words[1:])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a Minari store of its own."""
    pytest.importorskip("minari", reason="pip install 'dreamserve-training[minari]'")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.chdir(tmp_path)
    # the printed install lacks it; Minari asks for it to record, wherever it happens to be
    monkeypatch.setitem(sys.modules, "jax", None)
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:minari")  # of metadata that only sharing needs
def test_a_dataset_becomes_a_world_whose_dreams_are_a_dataset(folder: Path, serve: Any) -> None:
    (record, recipe, load), (take, train, check, _, dream) = parts()
    assert "range(100)" in record
    run(record.replace("range(100)", "range(3)"))
    assert "3 episodes, 600 steps, vectors 3, actions Box: action 0 in [-2, 2]" in command(take)
    Path("pendulum.py").write_text(recipe.replace("Recipe(\n", f"Recipe({TINY}", 1))
    command(train)
    assert "0 errors" in command(check)
    assert dream[-4:] == ["--episodes", "50", "--max-steps", "200"]
    command([*dream[:-3], "2", "--max-steps", "6"])
    assert run(load) == "2 dreams of (7, 3)\n"

    import minari

    dreams = minari.load_dataset("pendulum/dreams-v0")
    with serve(folder / "bundles" / "pendulum") as served, DreamClient(served.url) as client:
        for seed, episode in enumerate(dreams):  # the served world dreams the same
            with client.dream("pendulum", seed=seed) as session:
                steps = [session.step(a, include=["vector"]) for a in episode.actions]
            np.testing.assert_array_equal([s.vector for s in steps], episode.observations[1:])
            np.testing.assert_array_equal([s.reward for s in steps], episode.rewards)
