"""Environments over every transport: the same dreams, and what is lost on the way is sent again."""

import numpy as np
import pytest

pytest.importorskip("gymnasium", reason="pip install 'dreamserve-client[gymnasium]'")

import dreamserve_client as sdk
from dreamserve.engine.fake import fake_world
from dreamserve_client.envs import DreamEnv, DreamVectorEnv

OBSERVATIONS = ["frame", "latent+memory"]
ACTIONS = np.random.default_rng(2).integers(3, size=(12, 4))


def dreamt_together(**options) -> list[np.ndarray]:
    """Return all that four dreams show, which are cut at 5 steps."""
    env = DreamVectorEnv(num_envs=4, max_episode_steps=5, **options)
    shown = [env.reset(seed=3)[0]]
    for actions in ACTIONS:
        observations, rewards, terminated, truncated, _ = env.step(actions)
        shown += [observations, rewards, terminated, truncated]
    env.close()
    return shown


def dreamt_alone(**options) -> list[np.ndarray]:
    """Return all that one dream shows."""
    env = DreamEnv(max_episode_steps=5, **options)
    shown = [env.reset(seed=3)[0]]
    for action in ACTIONS[:5, 0]:
        shown += [np.asarray(one) for one in env.step(action)[:4]]
    env.close()
    return shown


@pytest.mark.parametrize("dreamt", [dreamt_together, dreamt_alone])
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_dreams_are_the_same_over_every_transport(url, observation, dreamt):
    expected = dreamt(bundle=fake_world(), observation=observation)
    for transport in ("http", "stream"):
        found = dreamt(base_url=url, transport=transport, observation=observation)
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("dreamt", [dreamt_together, dreamt_alone])
def test_a_lost_response_changes_no_dream(service, waits, dreamt):
    lost = dreamt(client=service.forgetful_client(), world="fake")
    for mine, theirs in zip(lost, dreamt(bundle=fake_world()), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert waits


def test_the_world_may_be_chosen(service):
    env = DreamVectorEnv(client=service.client, world="box", num_envs=2)
    assert env.single_action_space.shape == (2,)
    env.reset(seed=1)
    env.step(env.action_space.sample())
    with pytest.raises(sdk.WorldNotFoundError):
        DreamEnv(client=service.client, world="nowhere")


def test_a_dream_that_is_not_finite_raises_and_can_be_reset_alone(service):
    env = DreamVectorEnv(client=service.client, world="broken", num_envs=2)
    env.reset(seed=1)
    with pytest.raises(sdk.DreamNotFiniteError, match="row 1"):
        env.step(np.array([0, 2]))
    env.reset(options={"reset_mask": np.array([False, True])})
    observations, *_ = env.step(np.array([0, 1]))
    alone = DreamEnv(client=service.client, world="broken")
    alone.reset(seed=1)
    np.testing.assert_array_equal(observations[0], alone.step(0)[0])


def test_closing_ends_all_sessions_on_the_server(service):
    client = service.client
    env = DreamVectorEnv(client=client, num_envs=3)
    env.reset(seed=1)
    ids = env._dreams.session_ids
    env.close()
    env.close()
    for session_id in ids:
        with pytest.raises(sdk.SessionNotFoundError):
            client.session(session_id)


@pytest.mark.parametrize("dreamt", [dreamt_together, dreamt_alone])
def test_a_client_of_files_shows_arrays_here(url, dreamt):
    expected = dreamt(bundle=fake_world(), observation="frame")
    with sdk.DreamClient(url, frames="png") as client:
        found = dreamt(client=client, observation="frame")
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
