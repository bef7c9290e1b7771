"""DreamEnv keeps Gymnasium's promises, and its dreams are those of sessions."""

from threading import Lock

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import dreamserve_client as sdk
import dreamserve_client.envs as envs
from dreamserve.backends.fake import KINDS, SPACES
from dreamserve.engine.fake import fake_world

# what the checkers only advise against; a world bounds neither its latents nor its memory
ADVICE = (
    "ignore:.*A Box observation space (min|max)imum value is",
    "ignore:.*Not able to test alternative render modes",
    "ignore:.*For Box action spaces, we recommend using a symmetric",
    "ignore:We recommend you to use a symmetric and normalized Box action space",
    "ignore:The minimal resolution for an image",
)
OBSERVATIONS = ["latent", "frame", "latent+memory", ("latent", "n")]


@pytest.mark.filterwarnings(*ADVICE)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("observation", OBSERVATIONS, ids=str)
def test_gymnasiums_checker_finds_nothing(make, observation, space):
    world = fake_world(space=SPACES[space])
    check_env(make.one(world, observation=observation, max_episode_steps=20))
    check_env(make.one(world, observation=observation, render_mode="rgb_array"))


@pytest.mark.filterwarnings(*ADVICE)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("observation", OBSERVATIONS, ids=str)
def test_the_checker_of_stable_baselines3_finds_nothing(make, observation, space):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(make.one(fake_world(space=SPACES[space]), observation=observation))


def test_it_is_registered_and_made_by_its_id():
    env = gymnasium.make(envs.ENV_ID, bundle=fake_world(), max_episode_steps=3)
    env.reset(seed=1)
    cuts = [env.step(1)[3] for _ in range(3)]
    assert cuts == [False, False, True]
    assert isinstance(env.unwrapped, envs.DreamEnv)
    env.close()


def test_the_server_cuts_a_dream_at_its_time_limit(make):
    env = make.one(max_episode_steps=3)
    for _ in range(2):
        env.reset(seed=1)
        assert [env.step(1)[3] for _ in range(3)] == [False, False, True]
    with pytest.raises(sdk.DreamEndedError):
        env.step(1)


@pytest.mark.parametrize("observation", OBSERVATIONS, ids=str)
def test_a_dream_is_the_session_with_its_seed(make, observation):
    client = sdk.DreamClient(transport=sdk.InProcess(fake_world()))
    session = client.dream(seed=7, temperature=0.5, include=["frame", "state"])
    env = make.one(observation=observation, render_mode="rgb_array")

    def observed(shown):
        if observation == "frame":
            return shown.frame
        tensors = {"latent": shown.latent, **shown.state}
        names = {"latent": ["latent"], "latent+memory": ["latent", "memory", "n"]}
        chosen = names.get(observation, observation)
        return np.concatenate([tensors[name].ravel() for name in chosen])

    first, info = env.reset(seed=7, options={"temperature": 0.5})
    assert info == {"seed": 7, "temperature": 0.5}
    np.testing.assert_array_equal(first, observed(session.first))
    for action in (2, 0, 1):
        shown = session.step(action, include=["frame", "state"])
        now, reward, terminated, truncated, info = env.step(action)
        np.testing.assert_array_equal(now, observed(shown))
        assert now in env.observation_space
        assert (reward, terminated, truncated, info) == (shown.reward, False, False, {})
        np.testing.assert_array_equal(env.render(), shown.frame)


def test_a_dream_without_a_seed_follows_from_the_last_seed(make):
    one, other = make.one(), make.one()
    seeds = []
    for env in (one, other):
        env.reset(seed=4)
        seeds.append([env.reset()[1]["seed"] for _ in range(3)])
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 3


def test_a_dream_starts_where_it_is_told_to(make):
    client, env = sdk.DreamClient(transport=sdk.InProcess(fake_world())), make.one()
    camera = np.full((2, 16, 24, 3), 255, np.uint8)
    for start in (
        {"bank": 3},
        {"age": "any"},
        {"latent": [0.1, 0.2, 0.3, 0.4]},
        {"frames": camera, "actions": [1]},
    ):
        session = client.dream(seed=1, start=sdk.Start(**start))
        first, _ = env.reset(seed=1, options=start)
        np.testing.assert_array_equal(first, session.first.latent)
        np.testing.assert_array_equal(env.step(2)[0], session.step(2).latent)


def test_the_actions_and_their_names_are_the_worlds(make):
    env = make.one()
    assert env.action_space == gymnasium.spaces.Discrete(3)
    assert (env.world, env.action_names) == ("fake", ["back", "stay", "forth"])
    low, high = np.float32([-2, 0, 10]), np.float32([2, 1, 1e9])
    for space, expected in (
        ("Box with odd bounds", gymnasium.spaces.Box(low, high)),
        ("MultiDiscrete", gymnasium.spaces.MultiDiscrete([3, 2, 5, 2])),
        ("MultiBinary", gymnasium.spaces.MultiBinary(3)),
    ):
        env = make.one(fake_world(space=SPACES[space]))
        assert env.action_space == expected
        assert len(env.action_names) == expected.shape[0]


def test_the_spaces_are_those_of_the_observation(make):
    sizes = {"latent": (4,), "latent+memory": (8,), ("latent", "n"): (5,)}
    for observation, shape in sizes.items():
        space = make.one(observation=observation).observation_space
        assert space == gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)
    frame = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    assert make.one(observation="frame").observation_space == frame


@pytest.mark.filterwarnings(*ADVICE)
def test_vectors_are_clipped_to_the_bounds_that_their_space_says(make):
    world, far = fake_world(**KINDS["vector"]), np.float32([1.3, 2.0, -4.0, 9.0])
    one, many = make.one(world, observation="vector"), make.many(2, world, observation="vector")
    bounds = np.float32([1, np.inf, 3.14, np.inf])
    assert one.observation_space == gymnasium.spaces.Box(-bounds, bounds, dtype=np.float32)
    first = one.reset(seed=1, options={"latent": far})[0]
    assert first.tolist() == np.float32([1, 2, -3.14, 9]).tolist()
    assert many.reset(seed=1, options={"latents": far})[0].tolist() == [first.tolist()] * 2
    after, final = one.step(2)[0], many.step([2, 2])[0]
    assert after in one.observation_space
    np.testing.assert_array_equal(final[0], after)
    check_env(make.one(world, observation="vector", max_episode_steps=20))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observation": "memory+latent"}, "'latent', 'frame', 'latent.memory' or different names"),
        ({"observation": "memory+latent"}, "different names of .'latent', 'memory', 'n'."),
        (
            {"observation": "x", "world": fake_world(**KINDS["vector"])},
            "'latent', 'vector', 'latent.memory' or different names",
        ),
        (
            {"observation": "x", "world": fake_world(**KINDS["without decode"])},
            "'latent', 'latent.memory' or different names",
        ),
        ({"observation": ("latent", "latent")}, "different names"),
        ({"observation": ()}, "different names"),
        ({"render_mode": "human"}, "render_mode must be None or 'rgb_array'"),
        ({"base_url": "http://127.0.0.1:1"}, "exactly one of base_url, bundle and client"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, options, message):
    for kind in (make.one, make.many):
        with pytest.raises(sdk.ConfigurationError, match=message):
            kind(**options)


@pytest.mark.parametrize("action", [True, np.True_, np.array(True), 1.0, "1", None])
def test_what_is_no_integer_is_no_action(make, action):
    env = make.one()
    env.reset(seed=1)
    with pytest.raises((sdk.InvalidActionError, sdk.InvalidRequestError), match="action"):
        env.step(action)
    assert not env.step(np.int8(1))[2]


def test_unknown_reset_options_are_refused(make):
    with pytest.raises(sdk.ConfigurationError, match=r"unknown reset options \['heat'\]"):
        make.one().reset(options={"heat": 1})


def test_step_and_render_want_a_reset_before(make):
    env = make.one(render_mode="rgb_array")
    for call in (lambda: env.step(1), env.render):
        with pytest.raises(gymnasium.error.ResetNeeded):
            call()
    assert make.one().render() is None


def test_closing_ends_the_session_once_and_leaves_your_client_open():
    client = sdk.DreamClient(transport=sdk.InProcess(fake_world()))
    env = envs.DreamEnv(client=client)
    env.reset(seed=1)
    session_id = env._session.session_id
    assert client.session(session_id).seed == 1
    env.close()
    env.close()
    with pytest.raises(sdk.SessionNotFoundError):
        client.session(session_id)


def test_a_changed_observation_changes_no_picture(make):
    env = make.one(observation="frame", render_mode="rgb_array")
    observed, _ = env.reset(seed=1)
    shown = env.render()
    observed[:] = 0
    np.testing.assert_array_equal(env.render(), shown)


def test_an_option_that_is_none_is_left_out(make):
    env = make.one(temperature=0.5)
    assert env.reset(seed=1, options={"temperature": None, "bank": None})[1]["temperature"] == 0.5


@pytest.mark.parametrize("world", [False, True])
def test_gymnasium_keeps_the_spec_of_an_environment_with_objects_of_yours(world):
    fake = fake_world()
    fake.backend.lock = Lock()  # as those that cannot be copied have something
    with sdk.DreamClient(transport=sdk.InProcess(fake)) as client:
        given = {"bundle": fake} if world else {"client": client}
        env = gymnasium.make(envs.ENV_ID, **given)
        assert env.spec.id == envs.ENV_ID
        env.close()
