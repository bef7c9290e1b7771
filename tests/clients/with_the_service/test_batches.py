"""Both clients, with many dreams in a request."""

import numpy as np
import pytest

import dreamserve_client as sdk


def codes(batch: sdk.StepBatchResult) -> dict[int, str]:
    """Return the error code of each failed row."""
    return {error.row: error.code for error in batch.errors}


@pytest.mark.parametrize(
    ("world", "actions"), [("fake", [[0, 1, 2], [2, 0, 1]]), ("box", np.full((2, 3, 2), 0.25))]
)
def test_a_batch_dreams_what_its_sessions_would_alone(service, world, actions):
    client, seeds, temperatures = service.client, [3, 4, 2**53 - 1], [1.0, 0.5, 1.3]
    started = client.reset_batch(3, world=world, seeds=seeds, temperatures=temperatures)
    batches = [client.step_batch(started.session_ids, column) for column in actions]
    assert not started.errors
    for row in range(3):
        alone = client.dream(world, seed=seeds[row], temperature=temperatures[row])
        np.testing.assert_array_equal(started.latents[row], alone.first.latent)
        assert (started.seeds[row], started.world) == (alone.first.seed, world)
        for batch, column in zip(batches, actions, strict=True):
            after = alone.step(column[row])
            np.testing.assert_array_equal(batch.latents[row], after.latent)
            ends = (batch.terminated[row], batch.truncated[row])
            assert (batch.steps[row], batch.rewards[row]) == (after.step, after.reward)
            assert ends == (after.terminated, after.truncated)


def test_a_bad_row_affects_no_other(service):
    client = service.client
    ids = client.reset_batch(4, world="broken", seeds=[1, 2, 3, 4]).session_ids
    client.step(ids[1], 1)
    rows = [*ids, "nobody", ids[0]]
    batch = client.step_batch(rows, [1, 1, 99, 2, 1, 1], steps=[1, 3, 1, 1, 1, 2])
    assert codes(batch) == {
        1: "step_conflict",
        2: "invalid_action",
        3: "dream_not_finite",
        4: "session_not_found",
        5: "invalid_request",
    }
    assert {error.row: error.status for error in batch.errors}[3] == 500
    assert batch.steps.tolist() == [1, 0, 0, 0, 0, 0]
    assert [client.session(session_id).step for session_id in ids] == [1, 1, 0, 0]
    alone = client.dream("broken", seed=1).step(1)
    np.testing.assert_array_equal(batch.latents[0], alone.latent)
    assert client.step_batch(ids, [1] * 4).steps.tolist() == [2, 2, 1, 1]


def test_a_batch_whose_response_was_lost_is_taken_once(service, waits):
    client, alone = service.forgetful_client(), service.client.dream("fake", seed=3)
    ids = client.reset_batch(2, world="fake", seeds=[3, 4]).session_ids
    batches = [client.step_batch(ids, [action, 1]) for action in (1, 0)]
    assert [batch.steps.tolist() for batch in batches] == [[1, 1], [2, 2]]
    expected = [alone.step(action).latent for action in (1, 0)]
    np.testing.assert_array_equal([batch.latents[0] for batch in batches], expected)
    assert len(waits) == 3


def test_the_async_client_dreams_the_same_batches(service):
    async def latents():
        async with service.async_client() as client:
            started = await client.reset_batch(2, world="fake", seeds=[5, 6])
            return (await client.step_batch(started.session_ids, [1, 0])).latents

    started = service.client.reset_batch(2, world="fake", seeds=[5, 6])
    expected = service.client.step_batch(started.session_ids, [1, 0]).latents
    np.testing.assert_array_equal(service.runner.run(latents()), expected)


def test_a_batch_sent_twice_is_taken_once_also_where_a_single_step_was(service):
    client = service.client
    ids = client.reset_batch(3, world="fake", seeds=[3, 4, 5]).session_ids
    single = client.step(ids[2], 1)
    once, twice = (client.step_batch(ids, [0, 1, 1], steps=[1, 1, 1]) for _ in range(2))
    assert not once.errors
    assert not twice.errors
    np.testing.assert_array_equal(once.latents, twice.latents)
    np.testing.assert_array_equal(once.latents[2], single.latent)
    other = client.step_batch(ids, [1, 1, 1], steps=[1, 1, 1])
    assert codes(other) == {0: "step_conflict"}
    assert [client.session(session_id).step for session_id in ids] == [1, 1, 1]


def test_a_dream_that_has_ended_is_refused_in_its_row_alone(service):
    client = service.client
    latents = [[0.94, 0, 0, 0], [0, 0, 0, 0]]
    ids = client.reset_batch(2, world="fake", latents=latents, temperatures=[0, 0]).session_ids
    while not (batch := client.step_batch(ids, [2, 1])).terminated[0]:
        assert batch.steps[0] < 20
    after = client.step_batch(ids, [2, 1])
    assert codes(after) == {0: "dream_ended"}
    assert after.steps[1] == batch.steps[1] + 1
    client.reset_batch(session_ids=ids[:1], world="fake", seeds=[1])
    assert client.step_batch(ids, [1, 1]).steps.tolist() == [1, after.steps[1] + 1]
