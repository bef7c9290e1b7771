"""Poisoned bodies and ids, each with its answer."""

import orjson

from .poison import JSON, MSGPACK, Row, invalid, json, message, post

PLAN, STEP = {"session_id": "s"}, {"session_id": "s", "action": 0}
SNAPSHOT = {"format": "dreamserve-snapshot", "format_version": 1}
DOCUMENTS = {
    "an array for a body": invalid(post("/reset", b"[]"), "must be an object, it is a list"),
    "null for a body": invalid(post("/reset", b"null"), "must be an object, it is null"),
    "an empty body": invalid(post("/step", b""), "session_id: .*required"),
    "half a body": invalid(post("/reset", b'{"seed": '), "not JSON: .*line 1 column"),
    "two bodies": invalid(post("/reset", b"{}{}"), "not JSON"),
    "half of msgpack": invalid(
        post("/reset", b"\x82\xa4seed", form=MSGPACK), "not msgpack: .*incomplete"
    ),
    "msgpack and more": invalid(post("/reset", b"\x80\x80", form=MSGPACK), "not msgpack: .*extra"),
    "deep nesting": invalid(
        post("/reset", b'{"a":' * 2000 + b"1" + b"}" * 2000), "not JSON: depth limit"
    ),
    "deep nesting beside a large integer": invalid(
        post("/reset", b'{"seed": 1%s, "a": ' % (b"0" * 30) + b'{"a":' * 700 + b"1" + b"}" * 701),
        "seed: .*9007199254740991",
    ),
    "deep nesting in msgpack": invalid(
        post("/reset", b"\x81\xa1a" * 2000 + b"\x01", form=MSGPACK), "nested too deeply"
    ),
    "a lone surrogate": invalid(
        post("/reset", b'{"session_id": "\\ud800"}'), "not JSON: .*surrogate"
    ),
    "invalid UTF-8": invalid(post("/reset", b'{"session_id": "\xff"}'), "not JSON"),
    "invalid UTF-8 in msgpack": invalid(
        post("/reset", b"\x81\xaasession_id\xa1\xff", form=MSGPACK), "not msgpack: .*utf-8"
    ),
    "an unknown field": invalid(json("/reset", sede=1), "sede: is not a known field"),
    "an unknown inner field": invalid(
        json("/reset", start={"bnak": 1}), "start.bnak: is not a known field"
    ),
    "keys that are no text": invalid(
        post("/reset", b"\x81\x01\x01", form=MSGPACK), "not msgpack: int is not allowed"
    ),
    "fields that exclude one another": invalid(
        json("/reset/batch", count=1, session_ids=["a"]), "count.*session_ids|session_ids.*count"
    ),
    "no start": invalid(json("/reset", start={}), "exactly one of"),
    "columns of different lengths": invalid(
        json("/reset/batch", session_ids=["a"], seeds=[1, 2]), "seeds"
    ),
    "an unknown planner": invalid(json("/plan", **PLAN, planner="ppo"), "planner: .*cem"),
    "an unknown option": invalid(json("/plan", **PLAN, options={"elitse": 1.0}), "elitse"),
    "an unknown policy": invalid(
        json("/rollout", policy="ppo", episodes=1, max_steps=1), "policy.*kind must be one of"
    ),
    "an unknown part": invalid(
        json("/reset", include=["frmae"]), "include.0: .*'frame', 'vector' or 'state'"
    ),
    "a snapshot of another format": Row(
        message(
            "PUT",
            "/sessions/s/snapshot",
            orjson.dumps({**SNAPSHOT, "format_version": 99}),
            f"Content-Type: {JSON}",
        ),
        409,
        "snapshot_refused",
        "reads dreamserve-snapshot 1, not dreamserve-snapshot 99",
    ),
}

ID = "session_id: .*pattern|session_id: .*characters"
IDS = {
    "NUL in an id": invalid(json("/reset", session_id="a\0b"), ID),
    "a path for an id": invalid(json("/reset", session_id="../../etc/passwd"), ID),
    "a newline behind an id": invalid(json("/reset", session_id="a\n"), ID),
    "an empty id": invalid(json("/reset", session_id=""), ID),
    "a long id": invalid(json("/reset", session_id="x" * 129), ID),
    "a gigantic id": invalid(json("/reset", session_id="x" * 500_000), ID),
    "a number for an id": invalid(json("/reset", session_id=7), "session_id: .*string"),
    "a path in a path": Row(
        message("GET", "/sessions/../worlds", None), 404, "not_found", "no such path"
    ),
    "a path, encoded": Row(
        message("GET", "/sessions/..%2fworlds", None), 404, "not_found", "no such path"
    ),
    "NUL in a path": invalid(message("GET", "/sessions/a%00b", None), ID),
    "two ids": invalid(
        post("/step", orjson.dumps(STEP), "x-session-id: t"),
        "the header x-session-id and session_id differ",
    ),
    "an id of bytes": invalid(post("/reset", b"{}", "x-session-id: a\xff"), ID),
    "two ids, one in the path": invalid(
        json("/sessions/s/rewind", session_id="t", steps=0), "the path and session_id differ"
    ),
    "an unknown world": Row(
        json("/reset", world="../takecover"), 404, "world_not_found", "fake, box"
    ),
    "a session that is not": Row(
        json("/step", session_id="nobody", action=0), 404, "session_not_found", "nobody"
    ),
}
