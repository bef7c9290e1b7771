"""DreamVecEnv is a VecEnv of stable-baselines3, and its algorithms train on it."""

import numpy as np
import pytest
import torch

sb3 = pytest.importorskip("stable_baselines3", reason="pip install 'dreamserve-client[sb3]'")

from stable_baselines3.common.env_util import make_vec_env  # noqa: E402
from stable_baselines3.common.evaluation import evaluate_policy  # noqa: E402
from stable_baselines3.common.monitor import Monitor  # noqa: E402
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize  # noqa: E402

from dreamserve.backends.fake import SPACES  # noqa: E402
from dreamserve.engine.fake import fake_world  # noqa: E402
from dreamserve_client import APIConnectionError  # noqa: E402
from dreamserve_client.envs import DreamVectorEnv  # noqa: E402
from dreamserve_client.envs.sb3 import DreamVecEnv  # noqa: E402
from dreamserve_protocol.errors import InvalidActionError, ProblemError  # noqa: E402

STEPS = 5


@pytest.fixture
def one_thread():
    """Let torch use one thread: networks this small are slower with two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def vec_env(**options):
    """Three dreams."""
    chosen = {"bundle": fake_world(), "num_envs": 3, "max_episode_steps": STEPS, **options}
    return DreamVecEnv(**chosen)


def test_its_steps_are_those_of_single_dreams(make, actions):
    env, rows = vec_env(), [make.one(max_episode_steps=STEPS) for _ in range(3)]
    assert env.seed(7) == [7, 8, 9]
    observations = env.reset()
    assert [info["seed"] for info in env.reset_infos] == [7, 8, 9]
    for row, one in enumerate(rows):
        np.testing.assert_array_equal(observations[row], one.reset(seed=7 + row)[0])
    kinds = set()
    for taken in actions:
        observations, rewards, dones, infos = env.step(taken)
        assert rewards.dtype == np.float32
        for row, one in enumerate(rows):
            expected, reward, terminated, truncated, _ = one.step(taken[row])
            assert (rewards[row], dones[row]) == (np.float32(reward), terminated or truncated)
            cut = truncated and not terminated
            assert infos[row]["TimeLimit.truncated"] == cut
            kinds.add((terminated, truncated))
            assert ("terminal_observation" in infos[row]) == dones[row]
            if dones[row]:
                np.testing.assert_array_equal(infos[row]["terminal_observation"], expected)
                expected, info = one.reset(seed=env.reset_infos[row]["seed"])
                assert info == env.reset_infos[row]
            np.testing.assert_array_equal(observations[row], expected)
    assert {(True, False), (False, True), (False, False)} <= kinds


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("space", SPACES)
def test_ppo_takes_the_actions_of_every_space(space):
    env = vec_env(bundle=fake_world(space=SPACES[space]))
    learner = sb3.PPO("MlpPolicy", env, n_steps=4, batch_size=12, n_epochs=1, device="cpu")
    learner.learn(12)
    actions, _ = learner.predict(env.reset())
    assert all(env.action_space.contains(action) for action in actions)
    env.close()


def test_what_is_neither_0_nor_1_is_no_binary_action():
    env = vec_env(bundle=fake_world(space=SPACES["MultiBinary"]))
    env.reset()
    with pytest.raises(InvalidActionError, match="must be integers of MultiBinary"):
        env.step(np.full((3, 3), 0.7, np.float32))


def test_seeds_and_options_are_for_the_next_reset_alone():
    env = vec_env()
    env.seed(3)
    env.set_options({"temperature": 0.5, "bank": 2})
    env.reset()
    assert env.reset_infos == [{"seed": seed, "temperature": 0.5} for seed in (3, 4, 5)]
    env.set_options([{"temperature": heat} for heat in (0.0, 1.0, 2.0)])
    env.reset()
    assert [info["temperature"] for info in env.reset_infos] == [0, 1, 2]
    assert env.reset_infos[0]["seed"] != 3
    env.reset()
    assert [info["temperature"] for info in env.reset_infos] == [1, 1, 1]
    env.set_options([{"temperature": 1.0}, {}, {}])
    with pytest.raises(ValueError, match="the same reset options"):
        env.reset()


def test_the_age_of_new_dreams_is_one_for_all():
    env, rows = vec_env(), DreamVectorEnv(num_envs=3, bundle=fake_world())
    for age in ("any", "beginning", 0):
        env.seed(3)
        env.set_options({"age": age})
        expected, _ = rows.reset(seed=3, options={"age": age})
        np.testing.assert_array_equal(env.reset(), expected)
    env.set_options([{"age": "any"}, {"age": "any"}, {"age": "beginning"}])
    with pytest.raises(ValueError, match="the same age"):
        env.reset()


@pytest.mark.parametrize("options", [{"heat": 1}, {"bank": 99}, {"age": "old"}, {"latents": [1]}])
def test_what_one_reset_refuses_is_not_asked_of_the_next(options):
    env = vec_env()
    env.seed(3)
    env.set_options(options)
    with pytest.raises((ProblemError, ValueError)):
        env.reset()
    env.reset()
    assert env.reset_infos[0]["seed"] != 3


def test_a_reset_that_no_server_answered_can_be_asked_again(monkeypatch):
    env = vec_env()
    env.seed(3)
    env.set_options({"temperature": 0.5})

    def lost(*_):
        raise APIConnectionError("no response")

    with monkeypatch.context() as patch:
        patch.setattr(env.dreams._client._transport, "send", lost)
        with pytest.raises(APIConnectionError):
            env.reset()
    env.reset()
    assert env.reset_infos == [{"seed": seed, "temperature": 0.5} for seed in (3, 4, 5)]


def test_the_spaces_of_a_row_are_those_of_one_dream():
    env = vec_env()
    for name in ("action_space", "observation_space"):
        assert env.get_attr(name) == [getattr(env, name)] * 3


@pytest.mark.parametrize("name", ["temperature", "max_episode_steps", "render_mode", "world"])
def test_what_a_dream_was_made_with_is_not_set_later(name):
    env = vec_env()
    with pytest.raises(ValueError, match=f"{name} is chosen when the environment is made"):
        env.set_attr(name, 2)


def test_attributes_belong_to_all_dreams():
    env = vec_env(render_mode="rgb_array")
    assert env.get_attr("world") == ["fake"] * 3
    assert env.get_attr("action_names", indices=1) == [["back", "stay", "forth"]]
    assert env.render_mode == "rgb_array"
    assert env.env_is_wrapped(Monitor) == [False] * 3
    assert not env.has_attr("nothing")
    env.set_attr("note", 4)
    assert env.get_attr("note", [0, 2]) == [4, 4]
    with pytest.raises(ValueError, match="all dreams at once"):
        env.set_attr("note", 5, indices=1)
    with pytest.raises(AttributeError, match="they have no fly"):
        env.env_method("fly")


def test_frames_are_tiled():
    env = vec_env(render_mode="rgb_array")
    env.reset()
    assert [image.shape for image in env.get_images()] == [(8, 8, 3)] * 3
    assert env.render().shape == (16, 16, 3)
    assert vec_env().get_images() == [None] * 3


def test_closing_twice_is_fine():
    env = vec_env()
    env.reset()
    env.close()
    env.close()


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_ppo_learns_to_reach_the_goal():
    env = vec_env(num_envs=16, max_episode_steps=20)
    agent = sb3.PPO(
        "MlpPolicy",
        VecNormalize(VecMonitor(env), norm_obs=False),
        n_steps=32,
        batch_size=128,
        n_epochs=4,
        learning_rate=3e-3,
        gamma=0.9,
        seed=0,
        device="cpu",
    )
    judge = vec_env(num_envs=16, max_episode_steps=20)
    before, _ = evaluate_policy(agent, judge, n_eval_episodes=32, warn=False)
    agent.learn(4096)
    after, _ = evaluate_policy(agent, judge, n_eval_episodes=32, warn=False)
    assert after > before + 2
    assert after > 15


def test_single_dreams_work_in_its_own_vectorisers():
    env = make_vec_env(
        "dreamserve/Dream-v0", 2, env_kwargs={"bundle": fake_world()}, seed=1, monitor_dir=None
    )
    env.reset()
    assert env.step(np.array([1, 2]))[1].shape == (2,)
    env.close()
