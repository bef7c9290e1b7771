"""Forks, rewinds and snapshots through the SDK, also if every other response is lost."""

import json

import numpy as np
import pytest

import dreamserve_client as sdk


def plain(snapshot):
    """Return the snapshot as parsed JSON."""
    return json.loads(json.dumps(snapshot, default=lambda array: array.tolist()))


@pytest.mark.parametrize("forgetful", [False, True])
def test_forks_continue_the_dream(service, forgetful):
    client = service.forgetful_client() if forgetful else service.client
    with client.dream("fake", seed=7) as dream:
        here = dream.step(1)
        forks = dream.fork(2)
        assert [(fork.first.step, fork.first.seed) for fork in forks] == [(1, 7), (1, 7)]
        np.testing.assert_array_equal(forks[0].first.latent, here.latent)
        steps = [branch.step(1) for branch in (dream, *forks)]
        assert {after.step for after in steps} == {2}
        np.testing.assert_array_equal(steps[0].latent, steps[1].latent)
        np.testing.assert_array_equal(steps[0].latent, steps[2].latent)
        other, same = dream.fork(seeds=[8, 7])
        mine = dream.step(1).latent
        np.testing.assert_array_equal(same.step(1).latent, mine)
        assert not np.array_equal(other.step(1).latent, mine)


def test_forks_replace_existing_sessions(service):
    client = service.client
    with client.dream("fake", seed=7) as dream, client.dream("box", seed=1) as other:
        dream.step(1)
        forks = client.fork(dream.session_id, session_ids=[other.session_id])
        assert (forks.world, forks.terminated) == ("fake", False)
        np.testing.assert_array_equal(other.step(1).latent, dream.step(1).latent)


@pytest.mark.parametrize("forgetful", [False, True])
def test_a_rewound_dream_counts_steps_from_there(service, forgetful):
    client = service.forgetful_client() if forgetful else service.client
    with client.dream("fake", seed=7, rewind_window=5) as dream:
        first = [dream.step(action) for action in (1, 0, 1, 1)]
        back = dream.rewind(steps=3)
        assert (back.step, back.rewindable_to, back.seed, back.world) == (1, 0, 7, "fake")
        np.testing.assert_array_equal(back.latent, first[0].latent)
        again = [dream.step(action) for action in (0, 1, 1)]
        for one, other in zip(first[1:], again, strict=True):
            assert one.step == other.step
            np.testing.assert_array_equal(one.latent, other.latent)
        assert dream.rewind(steps=1, include=["frame"]).frame.shape == (8, 8, 3)
        (fork,) = dream.fork(include=["state"])
        assert fork.first.state.keys() == {"memory", "n"}
        with pytest.raises(sdk.StepConflictError, match="cannot go back to step 9"):
            dream.rewind(to_step=9)
        with pytest.raises(sdk.InvalidRequestError, match="give exactly one"):
            dream.rewind()


@pytest.mark.parametrize("forgetful", [False, True])
def test_a_dream_that_has_ended_continues_after_a_rewind(service, waits, forgetful):
    client = service.forgetful_client() if forgetful else service.client
    start = sdk.Start(latent=[0.94, 0, 0, 0])
    with client.dream("fake", temperature=0, start=start, rewind_window=3) as dream:
        while not (last := dream.step(2)).terminated:
            assert last.step < 20
        with pytest.raises(sdk.DreamEndedError, match=f"ended at step {last.step}"):
            dream.step(2)
        assert dream.rewind(steps=1).terminated is False
        assert dream.step(0).step == last.step


def test_the_async_client_branches_alike(service):
    async def latents():
        async with (
            service.async_client() as client,
            await client.dream("fake", seed=5, rewind_window=2) as dream,
        ):
            await dream.step(1)
            (fork,) = await dream.fork()
            resumed = await client.resume(await dream.snapshot())
            taken = [(await branch.step(0)).latent for branch in (dream, fork, resumed)]
            await fork.rewind(steps=2)
            return [*taken, (await fork.step(1)).latent]

    dream = service.client.dream("fake", seed=5)
    one, two = dream.step(1).latent, dream.step(0).latent
    np.testing.assert_array_equal(service.runner.run(latents()), [two, two, two, one])


@pytest.mark.parametrize("extra", [{"observation": [0.1, 0, 0, -0.0]}, {"include": ["mixture"]}])
def test_the_last_answer_comes_with_the_snapshot(service, extra):
    client = service.client
    with client.dream("fake", seed=3) as dream:
        before = dream.step(1, **extra)
        resumed = client.resume(plain(dream.snapshot()))
        again = resumed.step(1, step=1, **extra)
        assert (again.step, again.info) == (before.step, before.info)
        assert again.latent.tobytes() == before.latent.tobytes()
        assert (again.mixture is None) == (before.mixture is None)


@pytest.mark.parametrize("form", [dict, plain])
def test_a_snapshot_is_restored_from_any_form(service, form):
    client = service.client
    with client.dream("box", seed=3) as dream:
        dream.step([0.5, 0.1])
        snapshot = form(dream.snapshot())
        copy = client.restore(snapshot)
        assert (copy.step, copy.world, copy.seed) == (1, "box", 3)
        original, restored = dream.step([0.1, 0.0]), client.step(copy.session_id, [0.1, 0.0])
        assert (original.step, restored.step) == (2, 2)
        np.testing.assert_array_equal(original.latent, restored.latent)
        with pytest.raises(sdk.SnapshotRefusedError, match="damaged or was edited"):
            client.restore({**snapshot, "step": 5}, dream.session_id)
        assert client.session(dream.session_id).step == 2


@pytest.mark.parametrize("steps", [-1, True])
def test_a_rewind_by_what_is_no_number_of_steps_is_refused(service, steps):
    with service.client.dream("fake", seed=7, rewind_window=9) as dream:
        dream.step(1)
        other = service.forgetful_client()
        for step in (2, 3):
            other.step(dream.session_id, 1, step=step)
        with pytest.raises(sdk.InvalidRequestError, match="steps"):
            dream.rewind(steps=steps)
        assert dream.session().step == 3
