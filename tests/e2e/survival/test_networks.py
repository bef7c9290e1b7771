"""A store that cannot be reached stops the sessions that need it, and harms none of them."""

import signal
import threading
import time

import numpy as np
import pytest
import redis

import dreamserve_client as sdk

BOUND_S = 5.0  # of a wait of 0.5 s, on a busy machine


def assert_unavailable(client: sdk.DreamClient, session_id: str, step: int) -> None:
    """Assert that a step gets store_unavailable, soon, with a Retry-After."""
    began_s = time.monotonic()
    with pytest.raises(sdk.StoreUnavailableError) as raised:
        client.step(session_id, step % 3, step=step)
    assert raised.value.retry_after_s == 1.0
    assert time.monotonic() - began_s < BOUND_S


def assert_same(seen, expected) -> None:
    assert len(seen) == len(expected)
    assert all(map(np.array_equal, seen, expected))


@pytest.mark.parametrize("trouble", ["hang", "cut"])
def test_a_server_without_its_store_says_so_and_recovers_by_itself(
    servers, clients, undisturbed, trouble
):
    first = clients[0].reset(seed=1, temperature=0.0).session_id
    latents = [clients[0].step(first, step % 3, step=step).latent for step in (1, 2)]
    getattr(servers[0].network, trouble)()
    for _ in range(3):
        assert_unavailable(clients[0], first, 3)
    with pytest.raises(sdk.StoreUnavailableError):
        clients[0].session(first)
    servers[0].network.heal()
    with servers[0].client(max_retries=8) as patient:
        latents += [patient.step(first, step % 3, step=step).latent for step in range(3, 10)]
    assert_same(latents, undisturbed(1, 9))


@pytest.mark.parametrize("trouble", ["hang", "cut"])
def test_a_server_that_was_cut_off_harms_no_session_that_moved(
    servers, clients, undisturbed, trouble
):
    session_id = clients[0].reset(seed=2, temperature=0.0).session_id
    latents = [clients[0].step(session_id, step % 3, step=step).latent for step in (1, 2)]
    getattr(servers[0].network, trouble)()
    latents += [clients[1].step(session_id, step % 3, step=step).latent for step in (3, 4)]
    assert_unavailable(clients[0], session_id, 3)
    latents += [clients[1].step(session_id, step % 3, step=step).latent for step in (5, 6)]
    servers[0].network.heal()
    with servers[0].client(max_retries=8) as patient:
        assert patient.session(session_id).step == 6
        latents.append(patient.step(session_id, 7 % 3, step=7).latent)
    latents.append(clients[1].step(session_id, 8 % 3, step=8).latent)
    assert_same(latents, undisturbed(2, 8))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_sessions_go_on_while_redis_restarts(servers, redis_server, undisturbed, number):
    seen: dict[int, list[np.ndarray]] = {}
    restarted = threading.Event()

    def dream(seed: int) -> None:
        latents = seen[seed] = []
        with servers[seed % 2].client(max_retries=8) as client:
            session_id = client.reset(seed=seed, temperature=0.0).session_id
            while not restarted.is_set() or len(latents) < 20:
                step = len(latents) + 1
                latents.append(client.step(session_id, step % 3, step=step).latent)
                if len(latents) > 2000:
                    return

    threads = [threading.Thread(target=dream, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    redis_server.end(number)
    redis_server.start()
    restarted.set()
    for thread in threads:
        thread.join(60.0)
        assert not thread.is_alive()
    for seed in range(4):
        assert len(seen[seed]) >= 20
        assert_same(seen[seed], undisturbed(seed, len(seen[seed])))


def test_a_redis_that_pauses_for_less_than_the_timeout_is_waited_for(clients, redis_server):
    session_id = clients[0].reset(seed=1).session_id
    with redis.Redis(port=redis_server.port) as admin:
        admin.client_pause(200, all=True)
    began_s = time.monotonic()
    assert clients[0].step(session_id, 1).step == 1
    assert time.monotonic() - began_s > 0.1


def test_a_full_redis_refuses_steps_and_keeps_sessions(servers, clients, redis_server):
    session_id = clients[0].reset(seed=1).session_id
    with redis.Redis(port=redis_server.port) as admin:
        admin.config_set("maxmemory", 1)
        try:
            assert_unavailable(clients[0], session_id, 1)
        finally:
            admin.config_set("maxmemory", 0)
    with servers[1].client(max_retries=8) as patient:
        assert patient.session(session_id).step == 0
        assert patient.step(session_id, 1, step=1).step == 1
