"""Forks, rewinds and snapshots through the SDK; the answer to every other request may be lost."""

import json

import numpy as np
import pytest

import dreamserve_client as sdk


def plain(snapshot):
    """The document as JSON has it."""
    return json.loads(json.dumps(snapshot, default=lambda array: array.tolist()))


@pytest.mark.parametrize("forgetful", [False, True])
def test_forks_go_on_where_the_dream_is(service, forgetful):
    client = service.forgetful_client() if forgetful else service.client
    with client.dream("fake", seed=7) as dream:
        dream.step(1)
        forks = dream.fork(2)
        assert forks.step == 1
        assert forks.seeds == (7, 7)
        own, first, second = (
            client.step(name, 1) for name in (dream.session_id, *forks.session_ids)
        )
        assert (own.step, first.step, second.step) == (2, 2, 2)
        np.testing.assert_array_equal(own.latent, first.latent)
        np.testing.assert_array_equal(own.latent, second.latent)
        (other,) = dream.fork(seeds=[8]).session_ids
        assert not np.array_equal(client.step(other, 1).latent, dream.step(1).latent)


@pytest.mark.parametrize("forgetful", [False, True])
def test_a_rewound_dream_counts_on_from_there(service, forgetful):
    client = service.forgetful_client() if forgetful else service.client
    with client.dream("fake", seed=7, rewind_window=5) as dream:
        first = [dream.step(action) for action in (1, 0, 1, 1)]
        back = dream.rewind(1)
        assert (back.step, back.rewindable_to) == (1, 0)
        np.testing.assert_array_equal(back.latent, first[0].latent)
        again = [dream.step(action) for action in (0, 1, 1)]
        for one, other in zip(first[1:], again, strict=True):
            assert one.step == other.step
            np.testing.assert_array_equal(one.latent, other.latent)
        with pytest.raises(sdk.StepConflictError, match="cannot go back to step 9"):
            dream.rewind(9)


@pytest.mark.parametrize("form", [dict, plain])
def test_a_snapshot_is_kept_in_any_form_and_brought_back(service, form):
    client = service.client
    with client.dream("box", seed=3) as dream:
        dream.step([0.5, 0.1])
        snapshot = form(dream.snapshot())
        copy = client.restore(snapshot)
        assert (copy.step, copy.world, copy.seed) == (1, "box", 3)
        here, there = dream.step([0.1, 0.0]), client.step(copy.session_id, [0.1, 0.0])
        assert (here.step, there.step) == (2, 2)
        np.testing.assert_array_equal(here.latent, there.latent)
        with pytest.raises(sdk.SnapshotRefusedError, match="damaged or was edited"):
            client.restore({**snapshot, "step": 5}, dream.session_id)
        assert client.session(dream.session_id).step == 2
