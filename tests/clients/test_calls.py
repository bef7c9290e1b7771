"""What the SDK sends, and what it refuses to send."""

import re

import httpx
import numpy as np
import pytest

import dreamserve_client as sdk
from dreamserve_client.calls import Call
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.verbs import VERBS
from dreamserve_protocol.wire import fields_of


def test_a_reset_sends_only_the_given_fields(fake):
    server = fake(fake.ok(fake.RESET))
    server.client().reset(
        "pong", seed=7, start=sdk.Start(latent=np.array([0.5, -0.25], np.float32))
    )
    sent = server.body()
    assert re.fullmatch(r"[0-9a-f]{32}", sent.pop("session_id"))
    assert sent == {"world": "pong", "seed": 7, "start": {"latent": [0.5, -0.25]}}


def test_each_reset_without_an_id_chooses_another_one_and_sends_it_in_the_header_too(fake):
    server = fake(fake.ok(fake.RESET))
    client = server.client()
    client.reset()
    client.reset()
    ids = [server.body(i)["session_id"] for i in range(2)]
    assert ids[0] != ids[1]
    assert [request.headers["x-session-id"] for request in server.requests] == ids


def test_every_call_about_a_session_carries_its_id_in_the_header(fake):
    sample = {"latents": [[[0.0, 1.0]]], "rewards": [[1.0]], "terminated": [[True]]}
    server = fake(fake.ok(fake.STEP), fake.ok(fake.PLAN), fake.ok(sample), fake.ok(fake.SESSION))
    client = server.client()
    client.step("s1", 1)
    client.plan("s1")
    client.sample("s1", futures=1, horizon=1)
    client.session("s1")
    client.delete("s1")
    assert [request.headers.get("x-session-id") for request in server.requests] == ["s1"] * 5


def test_every_call_tells_the_server_its_timeout(fake):
    server = fake(fake.ok(fake.STEP), fake.ok(fake.PLAN), fake.ok(fake.STEP))
    client = server.client()
    client.step("s1", 1)
    client.plan("s1")
    client.with_options(timeout_s=2.5).step("s1", 1)
    sent = [float(request.headers["x-request-timeout"]) for request in server.requests]
    assert sent == [30.0, 600.0, 2.5]


@pytest.mark.parametrize(
    ("action", "sent"),
    [
        (1, 1),
        (np.int64(2), 2),
        ([0.5, -1.0], [0.5, -1.0]),
        (np.array([0.5, -1.0], np.float32), [0.5, -1.0]),
    ],
)
def test_an_action_may_be_a_number_a_list_or_an_array(fake, action, sent):
    server = fake(fake.ok(fake.STEP))
    server.client().step("s1", action)
    assert server.body() == {"session_id": "s1", "action": sent}


def test_an_id_is_escaped_in_the_path(fake):
    server = fake(fake.ok(fake.SESSION))
    server.client().session("../worlds?x")
    assert server.requests[0].url.raw_path == b"/sessions/..%2Fworlds%3Fx"


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_of_dots_is_a_name(fake, name):
    server = fake(fake.ok(fake.SESSION))
    server.client().snapshot(name)
    assert (
        server.requests[0].url.raw_path
        == b"/sessions/%s/snapshot" % name.replace(".", "%2E").encode()
    )


@pytest.mark.parametrize("name", ["a\r\nb: c", "\u00fc", "a b", "", "x" * 129, 5])
def test_an_id_that_is_none_is_not_in_a_header_and_the_server_refuses_it_in_the_body(fake, name):
    server = fake(fake.problem(422, "invalid_request"))
    with pytest.raises(sdk.InvalidRequestError):
        server.client().step(name, 1)
    assert "x-session-id" not in server.requests[0].headers
    assert server.body()["session_id"] == name


def test_a_name_longer_than_any_url_is_refused_before_it_is_sent(fake):
    server = fake(fake.ok(fake.SESSION))
    with pytest.raises(sdk.InvalidRequestError, match="session cannot be sent"):
        server.client().session("x" * 70_000)
    assert not server.requests


@pytest.mark.parametrize("document", [{1}, [{1}], object()])
def test_a_snapshot_that_is_no_document_is_refused_before_it_is_sent(fake, document):
    server = fake(fake.ok(fake.SESSION))
    with pytest.raises(sdk.InvalidRequestError, match="must be an object of fields"):
        server.client().restore(document)
    assert not server.requests


@pytest.mark.parametrize("name", ["\ud800", 5, None])
def test_an_id_that_no_path_can_hold_is_refused_before_it_is_sent(fake, name):
    server = fake(fake.ok(fake.SESSION))
    with pytest.raises(sdk.InvalidRequestError, match="session_id must be a string, not"):
        server.client().session(name)
    assert not server.requests


def test_defaults_are_not_sent_but_what_is_set_is(fake):
    server = fake(fake.ok(fake.PLAN))
    client = server.client()
    client.plan("s1", planner="cem", horizon=20, options={}, warm_start=True)
    assert server.body() == {"session_id": "s1"}
    objective = sdk.Objective(survival=2, target=np.zeros(2))
    client.plan("s1", planner="icem", options={"elites": 3}, warm_start=False, objective=objective)
    assert server.body() == {
        "session_id": "s1",
        "planner": "icem",
        "options": {"elites": 3},
        "warm_start": False,
        "objective": {"reward": 0.0, "survival": 2, "target": [0.0, 0.0], "target_weight": 1.0},
    }


@pytest.mark.parametrize(
    ("policy", "sent"),
    [
        ("random", "random"),
        (sdk.BundledPolicy(), {"kind": "bundled"}),
        (sdk.ConstantPolicy(np.int64(2)), {"kind": "constant", "action": 2}),
        (sdk.LinearPolicy([[1.0]], [0.5]), {"kind": "linear", "weights": [[1.0]], "bias": [0.5]}),
    ],
)
def test_a_policy_is_sent_with_its_kind(fake, policy, sent):
    server = fake(fake.problem(422, "invalid_request"))
    with pytest.raises(sdk.InvalidRequestError):
        server.client().rollout(policy=policy, episodes=1, max_steps=2)
    assert server.body() == {"policy": sent, "episodes": 1, "max_steps": 2}


@pytest.mark.parametrize(
    ("send", "words"),
    [
        (lambda c: c.rewind("s1"), "give exactly one of steps and to_step"),
        (lambda c: c.rewind("s1", 1, steps=1), "give exactly one of steps and to_step"),
        (lambda c: c.fork("s1", 2, session_ids=["a"]), "give session_ids or count, not both"),
        (lambda c: c.fork("s1", 2, seeds=[1]), "2 forks need as many seeds, not 1"),
        (lambda c: c.fork("s1", session_ids=["s1"]), "cannot be forked into itself"),
        (lambda c: c.sample(futures=1, horizon=1), "give session_id, or start"),
        (lambda c: c.plan("s1", objective=sdk.Objective()), "the objective has no weight"),
        (
            lambda c: c.reset(start=sdk.Start()),
            "give exactly one of bank, latent",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused_before_they_are_sent(fake, send, words):
    server = fake(fake.ok(fake.RESET))
    with pytest.raises(sdk.InvalidRequestError, match=words):
        send(server.client())
    assert not server.requests


def test_a_fork_chooses_its_ids_and_names_its_session_in_the_path_alone(fake):
    server = fake(fake.ok(fake.FORK))
    forks = server.client().fork("s1", 2)
    ids = server.body()["session_ids"]
    assert len({*ids}) == 2
    assert all(re.fullmatch(r"s1--[0-9a-f]{16}", session_id) for session_id in ids)
    assert server.body() == {"session_ids": ids}
    assert (server.requests[0].method, server.requests[0].url.path) == ("POST", "/sessions/s1/fork")
    assert (forks.session_ids, forks.seeds) == (ids, [7, 8])


@pytest.mark.parametrize(("fields", "count"), [({}, 1), ({"seeds": [8, 9, 10]}, 3)])
def test_a_fork_without_a_count_makes_as_many_as_it_has_seeds_or_one(fake, fields, count):
    server = fake(fake.ok(fake.FORK))
    server.client().fork("s1", **fields)
    assert len(server.body().pop("session_ids")) == count


def test_a_snapshot_is_sent_back_unchanged(fake):
    document = {"format": "dreamserve-snapshot", "latent": [0.1, -0.0], "of_a_later_version": None}
    server = fake(fake.ok(document), fake.ok(fake.SESSION))
    client = server.client()
    assert client.snapshot("s1") == document
    client.restore(document, "s2")
    assert server.body() == document
    request = server.requests[1]
    assert (request.method, request.url.path) == ("PUT", "/sessions/s2/snapshot")
    assert request.headers["x-session-id"] == "s2"
    client.restore(document)
    assert re.fullmatch(r"/sessions/[0-9a-f]{32}/snapshot", server.requests[2].url.path)


def test_every_verb_of_the_protocol_is_a_method_and_deleting_returns_nothing(fake):
    assert {verb.name for verb in VERBS} <= set(vars(sdk.DreamClient))
    server = fake(httpx.Response(204))
    assert server.client().delete("s1") is None
    assert (server.requests[0].method, server.requests[0].content) == ("DELETE", b"")


def test_a_call_is_a_pure_value():
    call = Call(PlanRequest("a-b", horizon=3), dict)
    assert (call.verb.name, call.path, call.routed_by) == ("plan", "/plan", "a-b")
    assert call.body == call.fields == {"session_id": "a-b", "horizon": 3}
    assert fields_of(call.request)["planner"] == "cem"


@pytest.mark.parametrize("url", ["localhost:8000", "", "ftp://dreams"])
def test_a_base_url_without_http_is_refused_at_once(url):
    with pytest.raises(ValueError, match="base_url is"):
        sdk.DreamClient(url)


def test_a_given_http_client_stays_open_and_an_own_one_is_closed(fake):
    server = fake(fake.ok(fake.RESET))
    lent = server.client()
    with lent:
        lent.reset()
    lent.reset()
    with sdk.DreamClient(fake.URL) as own:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        own.reset()
