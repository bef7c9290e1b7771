"""Sessions are asked for on both of two servers, in turn, at once, and while one is stopped."""

import concurrent.futures
import signal

import numpy as np
import pytest

import dreamserve_client as sdk

MANY = 500


def test_a_session_on_both_servers_in_turn_takes_every_step_once(clients, undisturbed):
    session_id = clients[0].reset(seed=3, temperature=0.0).session_id
    for step, expected in enumerate(undisturbed(3, MANY), start=1):
        result = clients[step % 2].step(session_id, step % 3, step=step)
        assert result.step == step
        assert np.array_equal(result.latent, expected)


def test_two_clients_that_race_take_every_numbered_step_once(servers, undisturbed):
    with servers[0].client() as client:
        session_id = client.reset(seed=4, temperature=0.0).session_id

    def race(server) -> list[np.ndarray]:
        with server.client(max_retries=8) as racer:
            return [
                racer.step(session_id, step % 3, step=step).latent
                for step in range(1, 60)
                if step > racer.session(session_id).step - 1
            ]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        racing = [pool.submit(race, server) for server in servers]
        outcomes = [_outcome(future) for future in racing]
    assert any(isinstance(outcome, list) for outcome in outcomes)
    with servers[1].client() as client:
        assert client.session(session_id).step == 59
        last = client.step(session_id, 59 % 3, step=59)  # sent again
        assert np.array_equal(last.latent, undisturbed(4, 59)[-1])


def _outcome(future) -> object:
    """Return the latents, or the conflict of a racer that was overtaken by two steps."""
    try:
        return future.result(60.0)
    except sdk.StepConflictError as error:
        return error


def test_an_owner_that_was_stopped_answers_from_the_store(servers, clients, undisturbed):
    session_id = clients[0].reset(seed=5, temperature=0.0).session_id
    latents = [clients[0].step(session_id, 1, step=1).latent]
    servers[0].send(signal.SIGSTOP)
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            late = pool.submit(clients[0].step, session_id, 2, step=2)
            for step in (2, 3):
                latents.append(clients[1].step(session_id, step % 3, step=step).latent)
            servers[0].send(signal.SIGCONT)
            with pytest.raises(sdk.StepConflictError):  # step 3 has been taken
                late.result(30.0)
    finally:
        servers[0].send(signal.SIGCONT)
    assert clients[0].session(session_id).step == 3
    latents.append(clients[0].step(session_id, 4 % 3, step=4).latent)
    assert all(map(np.array_equal, latents, undisturbed(5, 4)))


@pytest.mark.parametrize("transport", ["http", "stream"])
def test_every_verb_continues_what_the_other_server_did(servers, transport):
    with (
        servers[0].client(transport=transport, route="both") as first,
        servers[1].client(transport=transport, route="both") as second,
    ):
        began = first.reset(seed=1, rewind_window=8)
        assert second.step(began.session_id, 1).step == 1
        forks = first.fork(began.session_id, count=2)
        assert second.step_batch(forks.session_ids, [1, 1]).steps.tolist() == [2, 2]
        with pytest.raises(sdk.StepConflictError):
            first.rewind(began.session_id, to_step=0)  # its window is on the other server
        snapshot = second.snapshot(began.session_id)
        restored = first.restore(snapshot)
        assert second.session(restored.session_id).step == 1
        assert second.plan(restored.session_id, horizon=2, candidates=4).actions is not None
        assert first.reset(session_id=began.session_id, seed=2).step == 0
        assert second.step(began.session_id, 1, step=1).step == 1
        ids = first.reset_batch(3, max_steps=1).session_ids
        for client in (second, first):
            restarted = client.step_batch(ids, [1, 1, 1], on_end="restart")
            assert restarted.final.rows.tolist() == [0, 1, 2]
        second.delete(began.session_id)
        with pytest.raises(sdk.SessionNotFoundError):
            first.step(began.session_id, 1, step=2)
        moved = [*forks.session_ids, restored.session_id]
        errors = first.delete_batch([*ids, *moved]).errors
        assert [(error.row, error.code) for error in errors] == [
            (row, "session_moved") for row in (3, 4, 5)
        ]
        assert not first.delete_batch(moved).errors
        with pytest.raises(sdk.SessionNotFoundError):
            second.session(ids[0])
