"""Servers are killed, stopped in order, and left without room on their disk."""

import os
import resource
import signal

import numpy as np
import pytest

import dreamserve_client as sdk

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def test_a_killed_server_with_a_file_loses_nothing(new_server, tmp_path, undisturbed):
    server = new_server(f"sqlite:{tmp_path}/sessions.db")
    with server.client(max_retries=8) as client:
        session_id = client.reset(seed=1, temperature=0.0).session_id
        latents = [client.step(session_id, step % 3).latent for step in range(1, 6)]
        server.end(signal.SIGKILL)
        server.start()
        latents += [client.step(session_id, step % 3).latent for step in range(6, 11)]
    assert all(map(np.array_equal, latents, undisturbed(1, 10)))


def test_a_full_disk_refuses_steps_until_there_is_room(new_server, tmp_path):
    server = new_server(f"sqlite:{tmp_path}/sessions.db")
    with server.client() as client:
        session_id = client.reset(seed=1).session_id
        most = max(os.path.getsize(path) for path in tmp_path.iterdir())
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (most, UNLIMITED[1]))
        with pytest.raises(sdk.StoreUnavailableError):
            _ = [client.step(session_id, 1, step=step) for step in range(1, 100)]
        with pytest.raises(sdk.StoreUnavailableError):
            client.reset(seed=2)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, UNLIMITED)
        taken = client.session(session_id).step
        assert client.step(session_id, 1).step == taken + 1
    server.end(signal.SIGKILL)
    with server.start().wait().client() as client:
        assert client.session(session_id).step == taken + 1


def test_a_relaxed_server_that_is_stopped_in_order_loses_nothing(new_server, tmp_path):
    server = new_server(f"sqlite:{tmp_path}/sessions.db", "--durability", "relaxed")
    with server.client(max_retries=8) as client:
        session_id = client.reset(seed=1).session_id
        for step in range(1, 51):
            assert client.step(session_id, 1).step == step
        assert server.end(signal.SIGTERM) == 0
        server.start()
        assert client.session(session_id).step == 50
        for _ in range(51, 101):
            client.step(session_id, 1)
        server.end(signal.SIGKILL)
        server.start()
        assert 90 <= client.session(session_id).step <= 100
