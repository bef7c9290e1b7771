"""What an environment tells of itself is understood, or refused with what would be right."""

import itertools
import re

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from dreamserve.observations import Crop, FrameSpec
from dreamserve_training.action_specs import action_spec
from dreamserve_training.env_specs import Wishes, observation_spec, step_limit
from dreamserve_training.env_values import UnsupportedEnvironmentError, as_frame, as_vector
from dreamserve_training.envs import FailedEnvironmentError, env_action
from dreamserve_training.probe import probe
from dreamserve_training.recipe import Recipe

NONE = Wishes()
NUMBERS = spaces.Box(-1, 1, (3,))


def pictures(*shape, low=0, high=255, dtype=np.uint8):
    return spaces.Box(low, high, shape, dtype)


@pytest.mark.parametrize(
    ("space", "source"),
    [
        (pictures(96, 72), (96, 72, 1)),  # gray
        (pictures(96, 72, 1), (96, 72, 1)),
        (pictures(40, 60, 3), (40, 60, 3)),
        (pictures(4, 84, 84), (84, 84, 4)),  # a stack of gray ones, or channels first
        (pictures(4, 84, 84, 1), (84, 84, 4)),
        (pictures(40, 60, 3, low=0, high=1, dtype=np.float32), (40, 60, 3)),
    ],
)
def test_pictures_of_any_layout_become_frames(space, source):
    spec = observation_spec(space, NONE, "Env")
    assert spec.source_shape == spec.shape == source
    space.seed(0)
    picture = space.sample()
    frame = as_frame(picture, source, "Env")
    assert frame.shape == source
    assert frame.dtype == np.uint8
    scaled = picture if space.dtype == np.uint8 else np.rint(picture * 255)
    np.testing.assert_array_equal(np.sort(frame, axis=None), np.sort(scaled, axis=None))


def test_channels_stay_with_their_pixels():
    stack = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4, 1)
    np.testing.assert_array_equal(as_frame(stack, (3, 4, 2), "Env")[..., 1], stack[1, ..., 0])


def test_large_pictures_are_averaged_down_unless_the_recipe_says_a_size():
    assert observation_spec(pictures(480, 640, 3), NONE, "Env").shape == (72, 96, 3)
    wishes = Wishes(crop=(0, 400, 20, 620), size=(40, 60))
    spec = observation_spec(pictures(480, 640, 3), wishes, "Env")
    assert spec == FrameSpec(
        source_shape=(480, 640, 3),
        crop=Crop(top=0, bottom=400, left=20, right=620),
        shape=(40, 60, 3),
    )


@pytest.mark.parametrize(
    ("space", "low", "high"),
    [
        (
            spaces.Box(np.array([-1, -np.inf]), np.array([2, np.inf]), dtype=np.float64),
            (-1.0, None),
            (2.0, None),
        ),
        (spaces.Discrete(3), (0.0,) * 3, (1.0,) * 3),
        (spaces.MultiBinary(2), (0.0,) * 2, (1.0,) * 2),
        (spaces.MultiDiscrete([3, 5]), (0.0,) * 2, (2.0, 4.0)),
        (spaces.MultiDiscrete([3, 5, 1], start=[1, -7, 2]), (1.0, -7.0, 2.0), (3.0, -3.0, 3.0)),
        (spaces.Box(-1, 1, (2, 2)), (-1.0,) * 4, (1.0,) * 4),
    ],
)
def test_numbers_become_vectors(space, low, high):
    spec = observation_spec(space, NONE, "Env")
    assert (spec.kind, spec.low, spec.high) == ("vector", low, high)
    vector = as_vector(space.sample(), spec.shape, "Env")
    assert vector.shape == spec.shape
    assert vector.dtype == np.float32


def test_numbers_have_the_names_that_the_recipe_gives_them():
    names = ("place", "speed", "angle")
    assert observation_spec(NUMBERS, Wishes(observation_names=names), "Env").names == names


def test_a_discrete_observation_is_one_hot():
    assert as_vector(np.int64(2), (4,), "Env").tolist() == [0, 0, 1, 0]


def test_one_part_of_a_dict_is_chosen():
    space = spaces.Dict({"eye": pictures(8, 8, 3), "joints": NUMBERS})
    assert observation_spec(space, Wishes(part="joints"), "Env").kind == "vector"
    assert observation_spec(spaces.Dict({"eye": pictures(8, 8, 3)}), NONE, "Env").kind == "frame"


@pytest.mark.parametrize(
    ("space", "wishes", "says"),
    [
        (spaces.Dict({"a": NUMBERS, "b": NUMBERS}), NONE, "choose one by `part`: 'a'.*'b'"),
        (spaces.Dict({"a": NUMBERS}), Wishes(part="c"), "choose one by `part`: 'a'"),
        (NUMBERS, Wishes(part="a"), "part='a' is for Dict"),
        (NUMBERS, Wishes(size=(8, 8)), "`crop` and `size` are for pictures"),
        (pictures(8, 8, 5), NONE, "at most 4 channels.*GrayscaleObservation"),
        (pictures(4, 8, 8, 3), NONE, "at most 4 channels.*GrayscaleObservation"),
        (pictures(8, 8, 3), Wishes(crop=(0, 9, 0, 8)), "crop .* is not inside frames of 8 x 8"),
        (
            pictures(8, 8, 3, high=1),
            NONE,
            r"uint8 up to 1 of 255, which are nearly black; .* picture \* 255, .*Box\(0, 255",
        ),
        (pictures(8, 8, 3, high=1, dtype=np.int64), NONE, "int64 up to 1 of 255"),
        (pictures(8, 8, high=10), NONE, r"uint8 up to 10 of 255.* picture \* 25,"),
        (spaces.Text(5), NONE, "neither pictures nor numbers.*FlattenObservation"),
        (spaces.Box(-1, 1, (40, 40)), NONE, "1600 numbers; a vector has 1 to 1024"),
        (
            NUMBERS,
            Wishes(observation_names=("a", "b")),
            "3 numbers; `observation_names` must",
        ),
        (NUMBERS, Wishes(observation_names=tuple("aab")), "as many different names, not"),
        (pictures(8, 8), Wishes(observation_names=("a",)), "`observation_names` are for numbers"),
    ],
)
def test_observations_that_cannot_be_trained_on_are_refused(space, wishes, says):
    with pytest.raises(UnsupportedEnvironmentError, match=f"Env: .*{says}"):
        observation_spec(space, wishes, "Env")


class Player(gymnasium.Env):
    """An environment with any action space."""

    observation_space = NUMBERS

    def __init__(self, action_space, meanings=None):
        self.action_space = action_space
        if meanings:
            self.get_action_meanings = lambda: meanings


def actions(space, wishes=NONE, meanings=None):
    return action_spec(space, Player(space, meanings), wishes, "Env")


def test_actions_have_their_own_bounds_and_names():
    space = spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, 7.5]), dtype=np.float64)
    box = actions(space, Wishes(action_names=("steer", "gas")))
    assert (box.low, box.high, box.names) == ((-1, 0), (1, 7.5), ("steer", "gas"))
    assert actions(spaces.Discrete(2), meanings=["NOOP", "FIRE"]).names == ("noop", "fire")
    assert actions(spaces.MultiDiscrete([3, 5])).nvec == (3, 5)
    assert actions(spaces.MultiBinary(4)).n == 4


def test_the_advice_for_actions_without_bounds_helps():
    env = gymnasium.make("CartPole-v1")
    env.action_space = spaces.Box(-np.inf, np.inf, (2,))
    with pytest.raises(UnsupportedEnvironmentError) as refused:
        actions(env.action_space, NONE)
    advice = re.search(r"gymnasium.wrappers.TransformAction\(.*\)\)", str(refused.value))
    names = {
        "gymnasium": gymnasium,
        "env": env,
        "low": np.float32([-1, -2]),
        "high": np.float32([1, 1]),
    }
    assert actions(eval(advice[0], names).action_space, NONE).low == (-1, -2)


@pytest.mark.parametrize(
    ("space", "wishes", "says"),
    [
        (spaces.Box(-np.inf, np.inf, (2,)), NONE, r"action 0 is in \[-inf, inf\].*need finite"),
        (spaces.Box(0, 9, (2,), np.int64), NONE, "whole numbers are a MultiDiscrete space"),
        (spaces.Tuple([spaces.Discrete(2)]), NONE, "a world takes Discrete, Box, MultiDiscrete"),
        (spaces.Discrete(3), Wishes(action_names=("a", "b")), "3 actions.*but 2 action_names"),
    ],
)
def test_actions_that_cannot_be_planned_are_refused(space, wishes, says):
    with pytest.raises(UnsupportedEnvironmentError, match=f"Env: .*{says}"):
        actions(space, wishes)


def test_an_environment_that_cannot_name_its_actions_fails_by_name():
    env = Player(spaces.Discrete(2))
    env.get_action_meanings = lambda: 1 / 0
    with pytest.raises(FailedEnvironmentError, match=r"Env: .*ZeroDivisionError.*line \d+"):
        action_spec(env.action_space, env, NONE, "Env")


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=5),
        spaces.Box(-2, 2, (2, 2), np.float64),
        spaces.MultiDiscrete([3, 5], start=[1, -1]),
        spaces.MultiBinary(2),
    ],
)
def test_every_action_of_the_world_is_one_of_the_environment(space):
    known = actions(space)
    rng = np.random.default_rng(0)
    for _ in range(30):
        action = known.single(known.uniform(rng.random(known.shape, np.float32)))
        assert space.contains(env_action(space, action))


def test_the_limit_of_steps_is_the_smaller_of_the_environments_and_the_recipes():
    env = gymnasium.make("CartPole-v1")
    assert step_limit(env, NONE) == 500
    assert step_limit(env, Wishes(max_episode_steps=60)) == 60
    assert step_limit(Player(spaces.Discrete(2)), NONE) == 1000
    assert step_limit(gymnasium.make("CartPole-v1", max_episode_steps=-1), NONE) == 1000


def test_a_time_limit_counts_wherever_it_is_among_the_wrappers():
    player = Player(spaces.Discrete(2))
    assert step_limit(OrderEnforcing(TimeLimit(player, 30)), NONE) == 30
    assert step_limit(TimeLimit(TimeLimit(player, 30), 70), NONE) == 30
    assert step_limit(TimeLimit(gymnasium.make("CartPole-v1"), 700), NONE) == 500


class Walk(gymnasium.Env):
    """Ends by itself: each episode is as long as `lengths` say in turn, below 0 by termination."""

    observation_space, action_space = NUMBERS, spaces.Discrete(2)

    def __init__(self, *lengths):
        self.lengths = itertools.cycle(lengths)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length, self.steps = next(self.lengths), 0
        return self.np_random.normal(size=3), {}

    def step(self, action):
        self.steps += 1
        is_over = self.steps == abs(self.length)
        ends = is_over and self.length < 0, is_over and self.length > 0
        return self.np_random.normal(size=3), 1.0, *ends, {}


def limit_of(*lengths, **fields):
    return probe(Recipe(env=lambda: Walk(*lengths), name="walk", **fields)).env.max_episode_steps


def test_an_environment_that_truncates_itself_at_one_length_has_that_limit(caplog):
    caplog.set_level("INFO", "dreamserve_training")
    assert limit_of(30) == limit_of(-9, 30, -30) == 30
    assert "<lambda>: truncates its episodes after 30 steps" in caplog.text
    caplog.clear()
    assert limit_of(-9, -30) == limit_of(2000) == limit_of(1000) == 1000
    assert limit_of(30, collect={"max_steps": 20}) == 1000  # never seen to end
    assert not caplog.records


@pytest.mark.parametrize(
    ("lengths", "fields", "limit"),
    [
        ((30, 40), {}, 1000),
        ((30, -40), {}, 1000),
        ((30, *[-20] * 90), {}, 1000),  # once: perhaps by chance
        ((30,), {"max_episode_steps": 50}, 50),
    ],
)
def test_truncations_that_no_dream_knows_are_told(lengths, fields, limit, caplog):
    assert limit_of(*lengths, **fields) == limit
    (record,) = caplog.records
    assert f"dreams last up to {limit} steps; say max_episode_steps" in record.getMessage()
