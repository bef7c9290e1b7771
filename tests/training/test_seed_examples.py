"""The examples of docs/training.md, run in order, with less training, on a game of a few frames."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

from dreamserve.bundle import load_bundle
from dreamserve_training.data.episodes import save_episode

DOCUMENT = Path(__file__).parents[2] / "docs" / "training.md"
# what is printed, and what runs here in its place: less of the same
LESS = {
    "VAEConfig(z_dim=32)": "VAEConfig(z_dim=32, epochs=1)",
    '"epochs": 100': '"epochs": 2',
    "agent=agent, max_steps=1000": "agent=agent, max_steps=100",
    "num_candidates=1000": "num_candidates=50",
    "iterations=3,": "iterations=1,",
    "dreams=64,": "dreams=8, steps=8,",
}


def python_blocks():
    text = DOCUMENT.read_text()
    for printed, less in LESS.items():
        assert text.count(printed) == 1, printed
        text = text.replace(printed, less)
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def write_raw_episodes(directory, episodes=6, length=60):
    """Write episodes of a square that moves with the action, on a grey floor."""
    directory.mkdir()
    rng = np.random.default_rng(0)
    for number in range(episodes):
        actions = rng.integers(0, 3, length)
        column = np.clip(28 + 4 * np.cumsum(actions - 1), 0, 56)
        frames = np.full((length, 64, 64, 3), 60, np.uint8)
        for frame, left in zip(frames, column, strict=True):
            frame[24:32, left : left + 8] = (250, 120, 40)
        terminated = np.zeros(length, np.bool_)
        terminated[-1] = True
        episode = {
            "frames": frames,
            "actions": actions,
            "rewards": np.ones(length, np.float32),
            "terminated": terminated,
        }
        save_episode(directory / f"episode-{number:03d}.npz", episode)


@pytest.mark.slow
def test_the_documents_examples_run_in_order(tmp_path, monkeypatch):
    write_raw_episodes(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    names, output = {}, io.StringIO()
    blocks = python_blocks()
    assert len(blocks) == 10
    with contextlib.redirect_stdout(output):
        for number, block in enumerate(blocks):
            exec(compile(block, f"docs/training.md, block {number}", "exec"), names)
    printed = output.getvalue()
    assert "6 episodes of 360 steps encoded" in printed
    assert re.search(r"^Episode length: \d+$", printed, re.MULTILINE)
    assert re.search(r"^Total reward: \d+\.\d{3}$", printed, re.MULTILINE)
    assert re.search(r"^Best action: [012]$", printed, re.MULTILINE)
    assert re.search(r"^Expected value: 20\.000$", printed, re.MULTILINE)
    assert "all checks passed" in printed
    assert load_bundle(tmp_path / "my-world").manifest.name == "my-world"
    assert names["rollout_data"]["observations"].shape == (names["stats"]["episode_length"] + 1, 32)
