"""What an environment returns is stored as it is meant, or refused by episode and step."""

import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dreamserve_training.action_specs import action_spec
from dreamserve_training.data.collect import CollectConfig, collect, record_episode
from dreamserve_training.data.episodes import DataError
from dreamserve_training.data.signals import Signal
from dreamserve_training.env_specs import Wishes
from dreamserve_training.env_values import (
    UnsupportedEnvironmentError,
    as_flag,
    as_frame,
    as_number,
    as_vector,
)
from dreamserve_training.envs import FailedEnvironmentError, make_env, running
from dreamserve_training.probe import probe
from dreamserve_training.recipe import Recipe
from dreamserve_training.runs.signals import Stopped

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
NUMBERS = spaces.Box(-1, 1, (3,))


class Motor(gymnasium.Env):
    """An environment of three numbers whose step returns what a test wants."""

    observation_space, action_space = NUMBERS, spaces.Discrete(2)

    def __init__(self, reward=1.0, seen=(0.0, 0.0, 0.0), terminated=False, stuck_at=0, exits_at=0):
        self.returned = np.array(seen), reward, terminated
        self.stuck_at, self.exits_at = stuck_at, exits_at

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(3), {}

    def step(self, action):
        self.steps += 1
        if self.steps == self.stuck_at:
            raise RuntimeError("the motor is stuck")
        if self.steps == self.exits_at:
            sys.exit(3)
        seen, reward, terminated = self.returned
        return seen, reward, terminated, self.steps == 9, {}


class Exiting(Motor):
    """An environment that ends its process at the second step."""

    def __init__(self):
        super().__init__(exits_at=2)


class Unfinished(gymnasium.Env):
    """An environment without spaces."""


class Stuck(Motor):
    """An environment that cannot be closed."""

    def close(self):
        raise OSError("the lid is stuck")


@pytest.mark.parametrize("picture", [PICTURE, PICTURE.astype(np.int64), PICTURE / 255])
def test_pictures_of_any_dtype_are_stored_as_they_look(picture):
    np.testing.assert_array_equal(as_frame(picture, PICTURE.shape, "Env"), PICTURE)


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (PICTURE.astype(np.float64), "float64 frames must be within 0 and 1, not 0 to 248"),
        (np.full(PICTURE.shape, np.nan), "float64 frames must be within 0 and 1, not nan"),
        (PICTURE.astype(np.int16) - 3, "int16 frames must be within 0 and 255, not -3"),
        (PICTURE.astype(str), "frames must be numbers"),
    ],
)
def test_pictures_that_would_be_stored_white_or_black_are_refused(picture, says):
    with pytest.raises(UnsupportedEnvironmentError, match=f"Env: {says}"):
        as_frame(picture, PICTURE.shape, "Env")


@pytest.mark.parametrize(
    ("numbers", "shape", "says"),
    [
        (7, (5,), "the observation is 7; the space has 0 to 4"),
        (-1, (5,), "the observation is -1"),
        ("abc", (3,), "must be 3 finite numbers"),
        (None, (3,), "must be 3 finite numbers"),
        (np.full(3, 1e300), (3,), "must be 3 finite numbers"),
    ],
)
def test_observations_that_are_no_such_numbers_are_refused(numbers, shape, says):
    with pytest.raises(UnsupportedEnvironmentError, match=f"Env: .*{says}"):
        as_vector(numbers, shape, "Env")


class Camera(Motor):
    """An environment of pictures whose brightest pixel is `bright`."""

    observation_space = spaces.Box(0, 255, (8, 8, 1), np.uint8)

    def __init__(self, bright):
        super().__init__(seen=np.eye(8, dtype=np.uint8)[..., None] * bright)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((8, 8, 1), np.uint8), {}


@pytest.mark.parametrize(("bright", "says"), [(0, "at most 0"), (1, "at most 1"), (200, "")])
def test_pictures_that_are_nearly_black_are_told_before_anything_is_collected(bright, says, caplog):
    probe(Recipe(env=partial(Camera, bright), name="camera"))
    told = f"partial: in the first episodes frames are {says} of 255: nearly black"
    assert (told in caplog.text) == bool(says)
    assert says or not caplog.text


def test_rewards_and_ends_are_single_numbers_in_any_form():
    assert as_number(np.ones(1), "the reward") == as_number(True, "the reward") == 1.0
    assert as_flag(np.array([1.0]), "terminated") is True
    assert as_flag(np.bool_(False), "terminated") is False


@pytest.mark.parametrize(
    ("returns", "says"),
    [
        ({"reward": np.nan}, "step 1 .*seed 0: the reward must be one finite number, not nan"),
        ({"reward": None}, "step 1 .*seed 0: the reward must be one finite number, not None"),
        ({"reward": np.ones(2)}, "the reward must be one finite number"),
        ({"reward": 1e30}, r"seed 0: rewards holds 1e\+30 at step 0.*scale them"),
        ({"seen": (0, 0, 1e12)}, r"seed 0: vectors holds 1e\+12 at step 1.*scale them"),
        ({"seen": (0, 0, np.nan)}, "step 1 .*seed 0: observations must be 3 finite numbers"),
        ({"seen": (0, 0, 1e8)}, "observation 2 has mean .*at most 40000: scale it"),
        ({"terminated": np.nan}, "step 1 .*seed 0: terminated must be true or false, not nan"),
        ({"terminated": None}, "terminated must be true or false, not None"),
    ],
)
def test_values_that_cannot_be_trained_on_are_refused_before_anything_is_collected(returns, says):
    with pytest.raises(ValueError, match=says):
        probe(Recipe(env=lambda: Motor(**returns), name="motor"))


def stop(env, observation):
    raise KeyError("no such sensor")


def no_plan(rng, space):
    yield 0
    raise RuntimeError("out of ideas")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"env": lambda: Motor(stuck_at=5)},
            "step 5 of .*seed 0: RuntimeError: the motor is stuck",
        ),
        ({"record": stop}, "step 1 of .*seed 0: KeyError: 'no such sensor'"),
        ({"policy": no_plan}, "step 1 of .*: the next action: RuntimeError: out of ideas"),
        ({"policy": lambda rng, space: None}, "the beginning of .*seed 0: .*actions, not None"),
        ({"policy": lambda rng: [0]}, "the beginning of .*seed 0: TypeError: .*takes 1"),
        ({"policy": lambda rng, space: 1 / 0}, "the beginning of .*seed 0: ZeroDivisionError"),
        ({"policy": lambda rng, space: next(iter([]))}, "seed 0: StopIteration"),
        ({"env": lambda: 1 / 0}, "<lambda>: ZeroDivisionError"),
        ({"env": Unfinished}, "Unfinished: AttributeError: .*observation_space"),
        ({"env": Stuck}, "Stuck: closing it: OSError: the lid is stuck"),
        ({"env": lambda: Motor(exits_at=5)}, "step 5 of .*seed 0: SystemExit: 3"),
        ({"env": sys.exit}, "exit: SystemExit"),
        ({"record": lambda env, seen: sys.exit()}, "step 1 of .*seed 0: SystemExit"),
        ({"policy": lambda rng, space: sys.exit(0)}, "the beginning of .*seed 0: SystemExit: 0"),
    ],
)
def test_errors_of_the_users_code_are_told_with_the_episode_and_the_line(options, says):
    with pytest.raises(FailedEnvironmentError, match=rf"{says}.*\(.*\.py, line \d+\)"):
        probe(Recipe(**{"env": Motor, "name": "motor", **options}))


@pytest.mark.parametrize(
    "lost",
    [
        {"env": lambda: Path("map.txt").read_text()},
        {"record": lambda env, seen: np.load("map.txt")},
    ],
)
def test_a_file_that_is_named_from_the_wrong_folder_is_told_how_to_name_it(lost):
    says = r"No such file.*'map\.txt' \(.*line \d+\); .*Path\(__file__\)\.parent / 'map\.txt'"
    with pytest.raises(FailedEnvironmentError, match=says):
        probe(Recipe(**{"env": Motor, "name": "motor", **lost}))
    with pytest.raises(FailedEnvironmentError, match=r"'/no/map\.txt' \(.*line \d+\)$"):
        probe(Recipe(env=lambda: np.load("/no/map.txt"), name="motor"))


def test_a_worker_whose_environment_exits_is_an_error(tmp_path):
    env = replace(probe(Recipe(env=Motor, name="motor")).env, env=Exiting)
    with pytest.raises(FailedEnvironmentError, match=r"step 2 of .*seed 0: SystemExit: 3"):
        collect(env, tmp_path, CollectConfig(episodes=1, workers=1))


def test_a_signal_that_stops_the_run_is_no_error_of_the_environment():
    with pytest.raises(Stopped), running("the motor"):
        raise Stopped(signal.SIGTERM)


def test_a_callable_that_returns_no_environment_is_refused():
    with pytest.raises(UnsupportedEnvironmentError, match=r"is None, not a gymnasium\.Env"):
        make_env(lambda: None)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (lambda env, seen: {"rewards": 1.0}, "choose other names"),
        (lambda env, seen: {f"at {env.steps}": 1.0}, "the same names with one number each"),
        (lambda env, seen: {"speed": "fast"}, "'speed' is not"),
        (lambda env, seen: {"speed": [1.0, 2.0]}, "'speed' is not"),
        (lambda env, seen: {"speed": np.ones(2)}, "'speed' is not"),
        (lambda env, seen: {"speed": None}, "'speed' is not"),
    ],
)
def test_recorded_numbers_are_one_for_each_step_and_replace_nothing(record, says):
    env = probe(Recipe(env=Motor, name="motor")).env
    env = type(env)(**{**vars(env), "record": record})
    with pytest.raises(DataError, match=says):
        record_episode(env.open(), CollectConfig(), 0)


def test_a_signal_of_numbers_that_are_not_finite_is_refused_before_anything_is_collected():
    recipe = Recipe(
        env=Motor,
        name="motor",
        record=lambda env, seen: {"heat": np.nan},
        signals={"heat": Signal("heat")},
    )
    with pytest.raises(DataError, match="heat holds NaN or infinity at step 0"):
        probe(recipe)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (
            spaces.Box(np.float32([0, 1]), np.float32([1, 1])),
            r"action 1 is in \[1, 1\].*nothing to",
        ),
        (spaces.Discrete(10**9), "1000000000 actions.*a world has 1 to 4096"),
        (spaces.MultiDiscrete([60_000, 60_000]), "not possible: .*adds up to 120000"),
    ],
)
def test_actions_of_which_no_world_is_possible_are_refused(space, says):
    env = Motor()
    with pytest.raises(UnsupportedEnvironmentError, match=f"Env: .*{says}"):
        action_spec(space, env, Wishes(), "Env")
