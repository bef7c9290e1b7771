"""Many dreams as an object, on the real service, whose responses may be lost."""

import numpy as np
import pytest

import dreamserve_client as sdk


@pytest.mark.parametrize("forgetful", [False, True])
def test_dreams_in_columns_are_those_of_single_sessions(service, waits, forgetful):
    client = service.forgetful_client() if forgetful else service.client
    seeds, heat = [3, 4, 5], [1.0, 0.5, 0.0]
    alone = [
        service.client.dream("fake", seed=seed, temperature=temperature)
        for seed, temperature in zip(seeds, heat, strict=True)
    ]
    with client.dreams(3, world="fake", seeds=seeds, temperature=heat, include=["state"]) as dreams:
        expected = [dream.first.latent for dream in alone]
        np.testing.assert_array_equal(dreams.first.latents, expected)
        for actions in ([0, 1, 2], [2, 2, 0]):
            after = dreams.step(actions)
            steps = [
                dream.step(action, include=["state"])
                for dream, action in zip(alone, actions, strict=True)
            ]
            np.testing.assert_array_equal(after.latents, [step.latent for step in steps])
            memory = [step.state["memory"] for step in steps]
            np.testing.assert_array_equal(after.state["memory"], memory)
        assert dreams.steps.tolist() == [2, 2, 2]
    with pytest.raises(sdk.SessionNotFoundError):
        service.client.session(dreams.session_ids[0])


def test_a_wrong_action_can_be_replaced_and_no_other_dream_steps_twice(service):
    expected = service.client.dreams(2, world="fake", seeds=[1, 2]).step([2, 0])
    dreams = service.client.dreams(2, world="fake", seeds=[1, 2])
    with pytest.raises(sdk.InvalidActionError, match="row 1"):
        dreams.step([2, 99])
    after = dreams.step([2, 0])
    np.testing.assert_array_equal(after.latents, expected.latents)
    assert after.steps.tolist() == [1, 1]


def test_a_dream_that_cannot_go_on_begins_again_beside_the_others(service):
    dreams = service.client.dreams(2, world="broken", seeds=[1, 2])
    with pytest.raises(sdk.DreamNotFiniteError, match="row 1"):
        dreams.step([1, 2])
    dreams.reset(np.array([1]), seeds=[9])
    after = dreams.step([1, 1])
    fresh = service.client.dreams(2, world="broken", seeds=[1, 9]).step([1, 1])
    np.testing.assert_array_equal(after.latents, fresh.latents)


def test_a_dream_that_ends_starts_again_and_the_session_counts_on(service):
    dreams = service.client.dreams(2, world="fake", seeds=[1, 2], max_steps=2, on_end="restart")
    dreams.step([1, 1])
    after = dreams.step([1, 1])
    assert after.truncated.tolist() == [True, True]
    again = service.client.dreams(2, world="fake", seeds=after.final.seeds)
    np.testing.assert_array_equal(after.latents, again.first.latents)
    assert dreams.step([1, 1]).steps.tolist() == [3, 3]


def test_of_a_reset_that_fails_in_a_row_the_other_dreams_go_on(service):
    dreams = service.client.dreams(3, world="fake", seeds=[1, 2, 3])
    for _ in range(3):
        dreams.step([1, 1, 1])
    with pytest.raises(sdk.InvalidRequestError, match="row 1"):
        dreams.reset(seeds=[7, 8, 9], bank=[0, 10**6, 0], temperature=0.5)
    dreams.reset([1], seeds=[8], bank=[0])
    after = dreams.step([1, 1, 1])
    fresh = service.client.dreams(
        3, world="fake", seeds=[7, 8, 9], bank=[0, 0, 0], temperature=[0.5, 1, 0.5]
    )
    np.testing.assert_array_equal(after.latents, fresh.step([1, 1, 1]).latents)
    assert dreams.steps.tolist() == [1, 1, 1]
