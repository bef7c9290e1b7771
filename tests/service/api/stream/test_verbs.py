"""Every verb over one socket, for many sessions, in the request's form."""

import random

import httpx
import numpy as np
import orjson
import pytest

from dreamserve.api.examples import examples
from dreamserve.engine.fake import fake_world
from dreamserve_protocol.arrays import unpack
from dreamserve_protocol.verbs import BY_NAME

pytestmark = pytest.mark.anyio
FORMS = ["json", "msgpack"]
PATIENCE_S = 30.0


@pytest.mark.parametrize("form", FORMS)
async def test_every_verb_has_the_result_of_http_in_the_requests_form(
    listening, form, peer_of, listed, fields_of
) -> None:
    assert examples().keys() == BY_NAME.keys()
    with listening(fake_world()) as served:
        async with peer_of(served, form) as peer:
            for name, example in examples().items():
                if BY_NAME[name].is_admin:
                    assert (await peer.ask(name, **fields_of(name)))["status"] == 403
                    continue
                answer = await peer.ask(name, **fields_of(name))
                if example.result is None:
                    assert answer == {"id": name, "status": 204}
                else:
                    assert answer.keys() == {"id", "status", "body"}
                    assert (answer["status"], listed(answer["body"])) == (
                        200,
                        listed(example.result),
                    )


async def test_one_socket_takes_both_forms(server, peer_of) -> None:
    async with peer_of(server) as peer:
        for form in (*FORMS, *FORMS):
            peer.form = form
            assert (await peer.ask("worlds"))["status"] == 200


@pytest.mark.parametrize("form", FORMS)
async def test_many_sessions_on_one_socket_have_the_results_of_http(
    server, form, peer_of, listed
) -> None:
    generator = random.Random(0)
    sessions = [f"{form}{i}" for i in range(64)]
    actions = {name: [generator.randrange(2) for _ in range(6)] for name in sessions}
    async with peer_of(server, form) as peer:
        schedule = [name for name in sessions for _ in range(7)]
        generator.shuffle(schedule)
        sent = dict.fromkeys(sessions, 0)
        for name in schedule:  # all requests before a response is read
            number = sent[name]
            sent[name] += 1
            if number == 0:
                seed = sessions.index(name)
                question = {"verb": "reset", "body": {"session_id": name, "seed": seed}}
            else:
                body = {"session_id": name, "action": actions[name][number - 1], "step": number}
                question = {"verb": "step", "body": {**body, "include": ["frame", "state"]}}
            await peer.send({"id": f"{name}.{number}", **question})
        received = [await peer.receive() for _ in schedule]
    answers = {answer["id"]: answer for answer in received}
    assert len(answers) == len(schedule)
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_S) as http:
        for seed, name in enumerate(sessions):
            reset = await http.post("/reset", json={"session_id": "twin", "seed": seed})
            expected = [reset.text]
            for number, action in enumerate(actions[name], 1):
                body = {"session_id": "twin", "action": action, "step": number}
                body["include"] = ["frame", "state"]
                expected.append((await http.post("/step", json=body)).text)
            for number, one in enumerate(expected):
                answer = answers[f"{name}.{number}"]
                assert listed(answer["body"]) == listed(orjson.loads(one.replace("twin", name)))


async def test_a_short_request_overtakes_a_longer_one(server, peer_of) -> None:
    async with peer_of(server) as peer:
        await peer.ask("reset", session_id="long", seed=1)
        plan = {"session_id": "long", "horizon": 100, "candidates": 500, "iterations": 30}
        await peer.send({"id": 1, "verb": "plan", "body": plan})
        await peer.send({"id": 2, "verb": "worlds"})
        answers = [await peer.receive() for _ in range(2)]
        assert [(answer["id"], answer["status"]) for answer in answers] == [(2, 200), (1, 200)]


async def test_arrays_are_packed_in_msgpack(server, peer_of) -> None:
    async with peer_of(server, "msgpack") as peer:
        latent = np.array([0.25, 0.5, 0.0, -0.25], np.float32)
        await peer.ask("reset", session_id="packed", start={"latent": latent})
        answer = await peer.ask("step", session_id="packed", action=0, observation=latent)
        assert np.array_equal(unpack(answer["body"]["latent"]), latent)
