"""Both clients, with one dream at a time."""

import asyncio

import numpy as np
import pytest

import dreamserve_client as sdk


def test_a_dream_from_reset_to_delete(service):
    client = service.client
    with client.dream("fake", seed=7, include=["frame", "state"]) as dream:
        info = dream.session()
        frame = tuple(client.world("fake").frame_shape)
        assert dream.first.step == 0
        assert dream.first.frame.shape == frame
        assert dream.first.state.keys() == {"memory", "n"}
        assert (info.world, info.step, info.seed) == ("fake", 0, 7)
        after = dream.step(1, include=["frame", "mixture"])
        assert (after.step, after.session_id) == (1, dream.session_id)
        assert after.frame.shape == frame
        assert after.mixture["weights"].sum() == pytest.approx(1)
        assert dream.step(0).step == 2
    with pytest.raises(sdk.SessionNotFoundError) as raised:
        client.session(dream.session_id)
    assert raised.value.request_id


def test_the_same_seed_dreams_the_same_dream(service):
    def latents():
        with service.client.dream("fake", seed=11, temperature=1.3) as dream:
            return [dream.first.latent, *(dream.step(action).latent for action in (0, 1, 1))]

    np.testing.assert_array_equal(latents(), latents())


def test_a_returned_latent_can_start_a_dream(service):
    first = service.client.reset("fake", seed=3)
    again = service.client.reset("fake", start=sdk.Start(latent=first.latent))
    np.testing.assert_array_equal(again.latent, first.latent)


def test_an_observation_corrects_the_dream_and_has_its_surprise(service):
    with service.client.dream("fake", seed=3) as dream:
        seen = np.zeros_like(dream.first.latent)
        after = dream.step(1, observation=seen)
    np.testing.assert_array_equal(after.latent, seen)
    assert after.info.keys() >= {"surprise", "expected_surprise"}


@pytest.mark.parametrize(("world", "kind"), [("fake", np.int64), ("box", np.float32)])
def test_samples_and_plans_do_not_change_the_session(service, world, kind):
    with service.client.dream(world, seed=3) as dream:
        sample = dream.sample(futures=3, horizon=4, include=["frames"])
        plan = dream.plan(planner="random_shooting", horizon=5, candidates=8, seed=1)
        assert dream.session().step == 0
        assert dream.step(plan.action).step == 1
    assert sample.latents.shape == (3, 4, *dream.first.latent.shape)
    assert sample.rewards.shape == sample.terminated.shape == (3, 4)
    assert sample.frames.shape[:2] == (3, 4)
    assert len(plan.actions) == 5
    assert plan.actions.dtype == kind
    assert plan.planner == "random_shooting"
    np.testing.assert_array_equal(plan.actions[0], plan.action)


def test_a_sample_includes_mixtures_and_deterministic_trajectories(service):
    include = ["mixture", "entropy", "most_likely", "components"]
    with service.client.dream("fake", seed=3, temperature=0) as dream:
        sample = dream.sample(futures=3, horizon=4, actions=[1, 2, 1, 0], include=include)
        steps = [dream.step(action, include=["mixture"]) for action in (1, 2, 1, 0)]
    likely, parts = sample.most_likely, sample.components
    np.testing.assert_array_equal(likely.latents, [step.latent for step in steps])
    np.testing.assert_array_equal(parts.latents[0], likely.latents)
    np.testing.assert_array_equal(parts.latents[:, 0], steps[0].mixture["mu"][parts.order])
    np.testing.assert_allclose(sample.mixture["weights"].sum(axis=-1), 1, rtol=1e-6)
    assert sample.entropy.shape == sample.differential_entropy.shape == (3, 4)


def test_the_worlds_are_listed_the_default_one_first(service):
    fake, box, _ = service.client.worlds()
    assert (fake.name, box.name) == ("fake", "box")
    assert fake.latent_size == len(service.client.reset().latent)
    assert box.action_space["type"] == "Box"
    assert service.client.world("box").manifest["name"] == "box"


def test_a_step_sent_twice_is_taken_once_and_a_different_one_conflicts(service):
    first = service.client.reset("fake", seed=3)
    once = service.client.step(first.session_id, 1, step=1)
    twice = service.client.step(first.session_id, 1, step=1)
    np.testing.assert_array_equal(once.latent, twice.latent)
    with pytest.raises(sdk.StepConflictError):
        service.client.step(first.session_id, 0, step=1)
    assert service.client.session(first.session_id).step == 1


def test_what_a_lost_response_has_ended_is_ended(service, waits):
    client = service.forgetful_client()
    ids = client.reset_batch(3, world="fake").session_ids
    client.delete(ids[0])
    assert not client.delete_batch(ids[1:]).errors
    for session_id in ids:
        with pytest.raises(sdk.SessionNotFoundError):
            service.client.session(session_id)
        with pytest.raises(sdk.SessionNotFoundError):
            service.client.delete(session_id)


def test_each_wrong_request_raises_its_own_error(service):
    client = service.client
    dream = client.dream("fake", seed=3)
    with pytest.raises(sdk.InvalidActionError):
        dream.step(99)
    with pytest.raises(sdk.DreamNotFiniteError):
        client.dream("broken").step(2)
    with pytest.raises(sdk.WorldNotFoundError):
        client.reset("nowhere")
    with pytest.raises(sdk.InvalidRequestError):
        client.reset("fake", seed=-1)
    with pytest.raises(sdk.NotFiniteInputError):
        client.reset("fake", start=sdk.Start(latent=[2e6, 0, 0, 0]))
    with pytest.raises(sdk.TooLargeError):
        dream.sample(futures=100_000, horizon=100_000)
    assert dream.step(1).step == 1


def test_the_async_client_dreams_the_same(service):
    async def latents():
        async with service.async_client() as client, await client.dream("fake", seed=5) as dream:
            return [(await dream.step(action)).latent for action in (0, 1, 1)]

    with service.client.dream("fake", seed=5) as dream:
        expected = [dream.step(action).latent for action in (0, 1, 1)]
    np.testing.assert_array_equal(service.runner.run(latents()), expected)


def test_many_sessions_of_one_async_client_run_concurrently(service):
    async def together():
        async with service.async_client() as client:
            dreams = await asyncio.gather(*(client.dream("fake", seed=s) for s in range(16)))
            return await asyncio.gather(*(dream.step(1) for dream in dreams))

    steps = service.runner.run(together())
    assert {after.step for after in steps} == {1}
    assert len({after.session_id for after in steps}) == 16
