"""Dreams in this process, without a server."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.fake import fake_world
from dreamserve.errors import BundleError
from dreamserve.local import DreamBatch, LocalClient
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    DreamNotFiniteError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
    SessionNotFoundError,
)
from dreamserve_protocol.verbs import BY_NAME


def test_a_bundle_is_loaded_from_its_path(tiny_bundle: Path) -> None:
    dream = LocalClient(tiny_bundle)
    session_id = dream.reset(seed=1).session_id
    assert dream.step(session_id=session_id, action=2).step == 1
    assert dream.plan(session_id=session_id, horizon=3, candidates=10).actions.shape == (3,)
    assert dream.sample(session_id=session_id, futures=2, horizon=3).latents.shape == (2, 3, 4)
    assert dream.session(session_id).world == "tiny"
    assert dream.session(session_id).step == 1
    assert dream.delete(session_id) is None
    with pytest.raises(SessionNotFoundError):
        dream.session(session_id)


def test_a_bundles_dream_forks_rewinds_and_restores(tiny_bundle: Path) -> None:
    dream, other = LocalClient(tiny_bundle), LocalClient(tiny_bundle)
    dream.reset(session_id="a", seed=1, rewind_window=2)
    dream.step(session_id="a", action=2)
    snapshot = dream.snapshot("a")
    assert snapshot.world_version == dream.world.manifest.version
    assert dream.fork(session_id="a", session_ids=["b"]).step == 1
    assert other.restore("c", snapshot).step == 1
    steps = [d.step(session_id=s, action=1) for d, s in ((dream, "a"), (dream, "b"), (other, "c"))]
    assert len({step.latent.tobytes() for step in steps}) == 1
    assert dream.rewind(session_id="b", steps=2).step == 0


def test_a_path_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        LocalClient(tmp_path)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="speed"):
        LocalClient(fake_world()).reset(speed=3)


def test_lists_are_accepted_as_arrays_and_validated_like_a_servers() -> None:
    dream = LocalClient(fake_world(discrete=False))
    dream.reset(session_id="a", seed=1, start=Start(latent=[0.1, 0.2, 0.3, 0.4]))
    assert dream.step("a", [0.5, 0.1]).step == 1
    with pytest.raises(NotFiniteInputError, match=r"action: element \[0\] is not a finite"):
        dream.step("a", [float("nan"), 0])
    with pytest.raises(InvalidRequestError, match=r"seed: .*valid integer"):
        dream.reset(seed="1")


def test_every_verb_of_the_engine_is_a_method_with_its_requests_arguments() -> None:
    for name, verb in BY_NAME.items():
        if name in ("worlds", "world", "admin_load", "admin_unload"):  # it has one world
            continue
        method = getattr(LocalClient, name)
        assert method.__doc__ == verb.request.__doc__


def test_lockstep_dreams_have_the_documented_shapes_and_can_drop_rows() -> None:
    batch = DreamBatch(fake_world(), range(6), temperature=np.linspace(0, 1, 6))
    assert batch.latent.shape == (6, 4)
    assert {name: part.shape for name, part in batch.state.items()} == {"memory": (6, 3), "n": (6,)}
    reward, terminated = batch.step([0, 1, 2, 0, 1, 2])
    assert (reward.shape, terminated.shape, terminated.dtype) == ((6,), (6,), np.bool_)
    latent = batch.latent
    batch.keep([True, False, True, False, False, True])
    assert len(batch) == 3
    np.testing.assert_array_equal(batch.latent, latent[[0, 2, 5]])
    np.testing.assert_array_equal(batch.step([1, 1, 1])[0].shape, (3,))


def test_remaining_rows_continue_unchanged() -> None:
    whole, kept = (DreamBatch(fake_world(), [5, 6, 7]) for _ in range(2))
    whole.step([0, 1, 2])
    kept.step([0, 1, 2])
    kept.keep([False, True, True])
    whole.step([1, 1, 0])
    kept.step([1, 0])
    np.testing.assert_array_equal(whole.latent[1:], kept.latent)


def test_lockstep_dreams_start_in_the_bank_or_at_latents() -> None:
    world = fake_world()
    same = DreamBatch(world, [1, 1, 1], starts=[4, 4, 5])
    np.testing.assert_array_equal(same.latent[0], same.latent[1])
    assert not np.array_equal(same.latent[0], same.latent[2])
    latents = np.random.default_rng(0).random((2, 4))
    np.testing.assert_array_equal(
        DreamBatch(world, [1, 2], starts=latents).latent, latents.astype(np.float32)
    )


@pytest.mark.parametrize(
    "starts", [[16, 0], [0], [-1, 0], np.zeros((2, 3)), np.zeros((1, 4)), ["a", "b"]]
)
def test_starts_that_do_not_fit_are_refused(starts: Any) -> None:
    with pytest.raises(InvalidRequestError):
        DreamBatch(fake_world(), [1, 2], starts=starts)


@pytest.mark.parametrize("seeds", [[], [-1, 0], [0.5, 1], [[1, 2]], 3])
def test_seeds_that_make_no_sense_are_refused(seeds: Any) -> None:
    with pytest.raises(InvalidRequestError, match="seeds must be integers of at least 0"):
        DreamBatch(fake_world(), seeds)


@pytest.mark.parametrize("temperature", [-1, [1, 2, 3], [0.5, -0.5]])
def test_temperatures_that_make_no_sense_are_refused(temperature: Any) -> None:
    with pytest.raises(InvalidRequestError, match="temperature must be"):
        DreamBatch(fake_world(), [1, 2], temperature)


def test_starts_that_are_not_finite_are_refused() -> None:
    with pytest.raises(NotFiniteInputError, match="starts hold NaN"):
        DreamBatch(fake_world(), [1], starts=np.full((1, 4), np.nan))


def test_corrections_replace_the_latents_of_lockstep_dreams_but_not_their_state() -> None:
    batch = DreamBatch(fake_world(), [1, 2])
    batch.step([0, 1])
    memory = batch.state["memory"].copy()
    batch.correct([[0.5, 0, 0, 0], [0, 0.25, 0, 0]])
    assert batch.latent.tolist() == [[0.5, 0, 0, 0], [0, 0.25, 0, 0]]
    np.testing.assert_array_equal(batch.state["memory"], memory)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_corrections_that_make_no_sense_leave_lockstep_dreams_as_they_were(number: float) -> None:
    batch = DreamBatch(fake_world(), [1, 2])
    before = batch.latent.copy()
    with pytest.raises(NotFiniteInputError, match="latents hold NaN"):
        batch.correct([[0] * 4, [0, number, 0, 0]])
    with pytest.raises(InvalidRequestError, match=r"latents must be \(2, 4\), not \(1, 4\)"):
        batch.correct([[0] * 4])
    np.testing.assert_array_equal(batch.latent, before)


def test_bad_actions_and_nan_leave_lockstep_dreams_as_they_were() -> None:
    batch = DreamBatch(fake_world(nan_action=2), [1, 2])
    before = batch.latent.copy()
    with pytest.raises(InvalidActionError, match="action 3 is not in"):
        batch.step([0, 3])
    with pytest.raises(InvalidActionError, match=r"shape \[3\]: must be \[2\]"):
        batch.step([0, 1, 1])
    with pytest.raises(DreamNotFiniteError, match="dream 1 became NaN"):
        batch.step([0, 2])
    np.testing.assert_array_equal(batch.latent, before)
