"""Environments that this repository never heard of, from a recipe's file to a world that plans."""

import json

import numpy as np
import pytest

from dreamserve.local import LocalClient
from dreamserve.testing import check_bundle
from dreamserve_training.tasks import run_stages

TINY = """
from dreamserve_training.recipe import Recipe

RECIPE = Recipe(
    env=Game,
    steps=200,
    vae={"z_dim": 4, "epochs": 1},
    memory_options={"rnn_size": 8, "num_mixtures": 2},
    train={"epochs": 1},
    collect={"workers": 1},
    controller={"generations": 1, "population": 4, "episodes": 2, "workers": 1},
    evaluate={
        "episodes": 2, "dream_temperatures": (1.0,), "workers": 1,
        "plan_episodes": 1, "plan": {"horizon": 3, "candidates": 8},
    },
    bank_size=4,
)
"""
ONE_COMPONENT = TINY.replace('"num_mixtures": 2', '"num_mixtures": 1')

# A square that two thrusters of odd strength push about; gray pictures, a predicted reward, no end.
THRUSTERS = """
import gymnasium
import numpy as np
from gymnasium import spaces


class Game(gymnasium.Env):
    observation_space = spaces.Box(0, 255, (96, 72, 1), np.uint8)
    action_space = spaces.Box(np.array([-3.0, 0.0]), np.array([1.0, 2.5]), dtype=np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.steps = self.np_random.uniform([10, 10], [86, 62]), 0
        return self.seen(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        self.at = np.clip(self.at + 2 * (action - [-1.0, 1.25]), 4, [91, 67])
        return self.seen(), 1 - abs(self.at - [48, 36]).max() / 48, False, self.steps >= 30, {}

    def seen(self):
        picture = np.full((96, 72, 1), 30, np.uint8)
        y, x = self.at.astype(int)
        picture[y - 4 : y + 4, x - 4 : x + 4] = 240
        return picture
"""

# Two dials to turn; a Dict observation with numbers alone, a constant reward, an end.
DIALS = """
import gymnasium
import numpy as np
from gymnasium import spaces


class Game(gymnasium.Env):
    observation_space = spaces.Dict({"dials": spaces.Box(-np.inf, np.inf, (2,))})
    action_space = spaces.MultiDiscrete([3, 5])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.dials = self.np_random.normal(size=2) * [1, 300]
        return self.seen(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.dials = self.dials + [0.3, 90] * (action - [1, 2])
        return self.seen(), 2.0, bool(abs(self.dials / [3, 900]).max() > 1), False, {}

    def seen(self):
        return {"dials": self.dials.astype(np.float32)}
"""


def trained(tmp_path, game):
    """Run the tiny recipe of a game; return its dream and its manifest."""
    path = tmp_path / "game.py"
    path.write_text(game)
    run_stages(str(path), tmp_path / "run", tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert (tmp_path / "bundle" / "card.md").exists()
    check_bundle(tmp_path / "bundle")
    return LocalClient(tmp_path / "bundle"), manifest


@pytest.mark.slow
@pytest.mark.usefixtures("inline")
def test_gray_pictures_and_actions_of_odd_bounds_become_a_world(tmp_path):
    dream, manifest = trained(tmp_path, THRUSTERS + TINY)
    assert manifest["observation"]["shape"] == [96, 72, 1]
    assert manifest["action_space"]["low"] == [-3.0, 0.0]
    assert manifest["reward"]["kind"] == "head"
    assert {"random", "as collected", "controller", "plan"} <= manifest["quality"]["real"].keys()
    assert isinstance(manifest["quality"]["verdicts"], list)

    session = dream.reset(seed=1, start={"frames": np.zeros((1, 96, 72, 1), np.uint8)}).session_id
    plan = dream.plan(session, horizon=3, candidates=8)
    low, high = np.array([-3.0, 0.0]), np.array([1.0, 2.5])
    assert ((plan.actions >= low) & (plan.actions <= high)).all()
    assert dream.step(session, plan.action, include={"frame"}).frame.shape == (96, 72, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("inline")
def test_numbers_and_actions_of_several_choices_become_a_world(tmp_path):
    dream, manifest = trained(tmp_path, DIALS + ONE_COMPONENT)
    assert manifest["observation"]["kind"] == "vector"
    assert manifest["action_space"]["nvec"] == [3, 5]
    assert manifest["reward"] == {"kind": "constant", "value": 2.0}
    assert manifest["quality"]["done"]["deaths"] > 0

    session = dream.reset(seed=1, start={"vectors": np.zeros((1, 2), np.float32)}).session_id
    action = dream.plan(session, horizon=3, candidates=8).action
    assert ((action >= 0) & (action < [3, 5])).all()
    seen = np.array([0.5, -20.0], np.float32)
    step = dream.step(session, action, vector=seen, include={"vector"})
    np.testing.assert_allclose(step.vector, seen, atol=30.0)  # the posterior's noise
