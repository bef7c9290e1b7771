"""Through a load balancer every request reaches the server that has its session."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

import dreamserve_client as sdk

FAMILIES = 12  # enough to find both servers in use: one of 2048 runs does not


@pytest.fixture
def client(balanced) -> Iterator[sdk.DreamClient]:
    with sdk.DreamClient(balanced.url, max_retries=0) as client:
        yield client


def test_dreams_spread_over_both_servers_and_their_forks_live_with_them(balanced, client):
    homes = set()
    for seed in range(FAMILIES):
        dream = client.dream(seed=seed)
        dream.step(1)
        (fork, other) = dream.fork(2)
        (grandchild,) = fork.fork()
        for one in (fork, other, grandchild):
            assert one.step(0).step == 2
        family = [one.session_id for one in (dream, fork, other, grandchild)]
        (home,) = balanced.homes(*family)
        homes.add(home)
        client.delete_batch(family)
    assert len(homes) == 2


def test_every_row_of_a_batch_is_found_again(balanced, client):
    homes = set()
    for _ in range(FAMILIES):
        with client.dreams(16) as dreams:
            assert dreams.step(np.zeros(16, np.int64)).errors == []
            dreams.reset(np.arange(3))
            (home,) = balanced.homes(*dreams.session_ids[:2])
            client.step(dreams.session_ids[5], 1)  # its id alone leads there, too
            homes.add(home)
    assert len(homes) == 2


def test_an_asynchronous_client_and_a_chosen_route_lead_to_the_same_server(balanced):
    async def drive() -> list[str]:
        async with sdk.AsyncDreamClient(balanced.url, route="robot-7", max_retries=0) as client:
            dream = await client.dream(seed=1)
            dreams = await client.dreams(3)
            await dreams.step([0, 1, 2])
            await dream.step(1)
            return [dream.session_id, *dreams.session_ids]

    assert len(balanced.homes(*asyncio.run(drive()))) == 1


@pytest.mark.parametrize("prefix", ["", "/dreams"])
def test_a_client_that_only_knows_paths_is_routed_by_them(balanced, balancer, prefix):
    if prefix and balancer != "nginx":
        prefix = ""  # the example for Envoy has none
    with httpx.Client(base_url=f"{balanced.url}{prefix}") as http:
        for i in range(FAMILIES):
            route = f"by-path-{i}{len(prefix)}"
            headers = {"x-session-id": route}
            began = http.post("/reset", json={"session_id": route, "seed": i}, headers=headers)
            assert began.status_code == 200, began.text
            fork = http.post(f"/sessions/{route}/fork", json={"count": 1}).json()["session_ids"][0]
            assert http.get(f"/sessions/{fork}").json()["step"] == 0
            assert http.get(f"/sessions/{fork}/snapshot?&").status_code == 200
            assert http.delete(f"/sessions/{fork}").status_code == 204
            assert http.delete(f"/sessions/{route}").status_code == 204


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/metrics?name=x", "/%6Detrics", "//metrics", "/./metrics", "/a/../metrics"],
)
def test_metrics_are_not_published(balanced, path):
    direct = [balanced.http.get(f"{url}/metrics").status_code for url in balanced.servers]
    assert direct == [200, 200]
    address = httpx.URL(balanced.url)
    with closing(HTTPConnection(address.host, address.port or 80, timeout=30)) as http:
        http.request("GET", path)  # as it is written
        assert http.getresponse().status == 404


def test_a_session_may_be_called_metrics(balanced, client):
    with client.dream(seed=1, session_id="metrics") as dream:
        assert dream.step(1).step == 1
        assert balanced.http.get(f"{balanced.url}/sessions/metrics").status_code == 200


def test_a_stream_and_http_reach_the_same_sessions(balanced, client):
    for seed in range(4):
        with sdk.DreamClient(balanced.url, transport="stream", max_retries=0) as stream:
            dream = stream.dream(seed=seed)
            dream.step(1)
            (fork,) = dream.fork()
            with stream.dreams(3) as dreams:
                dreams.step([0, 1, 2])
                client.step_batch(dreams.session_ids, [0, 1, 2])
            # a client of HTTP takes over by the id alone, and so does a socket that names it
            assert client.step(dream.session_id, 0).step == 2
            assert client.step(fork.session_id, 0).step == 2
            url = balanced.url.replace("http", "ws")
            with connect(f"{url}/stream?session_id={stream.route}") as socket:
                body = {"session_id": dream.session_id, "action": 1, "step": 3}
                socket.send(json.dumps({"id": 1, "verb": "step", "body": body}))
                assert json.loads(socket.recv(timeout=30))["status"] == 200
            dream.close()
            fork.close()


def test_bodies_larger_than_a_proxys_buffers_pass_both_ways(balanced, client):
    frames = np.zeros((64, 80, 80, 3), np.uint8)  # 1.2 MB
    start = sdk.Start(frames=frames, actions=[0] * 63)
    with client.dream(start=start) as dream:
        future = dream.sample(futures=4, horizon=40, include=["frames"])
        assert future.frames.nbytes > 1_900_000


@pytest.mark.parametrize("prefix", ["", "/dreams"])
def test_the_playground_and_its_socket_are_served_under_a_prefix_too(balanced, balancer, prefix):
    if prefix and balancer != "nginx":
        prefix = ""  # the example for Envoy has none
    page = balanced.http.get(f"{balanced.url}{prefix}/play")
    assert "<canvas" in page.text
    url = f"{balanced.url}{prefix}".replace("http", "ws")
    with connect(f"{url}/stream?session_id=page", origin=balanced.url) as socket:
        socket.send(json.dumps({"id": 1, "verb": "worlds", "body": {}}))
        assert json.loads(socket.recv(timeout=30))["status"] == 200
