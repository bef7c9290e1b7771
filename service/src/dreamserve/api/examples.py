"""An example of every verb: requests to the fake world, with their actual responses.

They are the same in every process: a made-up server has them, whose time passes as it is read.
"""

from functools import cache
from itertools import count
from typing import Any

import orjson

from dreamserve.api.codec import encode
from dreamserve.api.openapi import Example
from dreamserve.engine.fake import fake_world
from dreamserve.engine.simple import SimpleEngine
from dreamserve.validation import validated
from dreamserve_protocol.verbs import BY_NAME, VERBS

# Sent in this order to one engine; then the verbs that need only a session, DELETE last. One row of
# step_batch fails, to show a row's error.
_REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("reset", {"session_id": "a", "seed": 7, "rewind_window": 8}),
    ("step", {"session_id": "a", "action": 2, "step": 1}),
    ("reset_batch", {"session_ids": ["b", "c"], "seeds": [7, 8]}),
    ("step_batch", {"session_ids": ["b", "c"], "actions": [2, 0], "steps": [1, 4]}),
    (
        "sample",
        {
            "session_id": "a",
            "futures": 2,
            "horizon": 2,
            "actions": [2, 2],
            "include": ["entropy", "most_likely", "components"],
        },
    ),
    ("rollout", {"policy": "random", "episodes": 2, "max_steps": 100, "seed": 7}),
    ("plan", {"session_id": "a", "planner": "cem", "horizon": 4, "candidates": 64}),
    ("fork", {"session_id": "a", "session_ids": ["left", "right"], "seeds": [7, 8]}),
    ("snapshot", {"session_id": "a"}),
    ("rewind", {"session_id": "a", "to_step": 0}),
    ("restore", {"session_id": "a"}),  # with the snapshot
    ("world", {"name": "fake"}),
    ("sessions", {"limit": 2}),
    ("admin_sessions", {"limit": 2}),
    ("delete_idle", {"idle_s": 600.0}),
    ("admin_delete", {"owner": "robots", "idle_s": 600.0}),
    ("delete_batch", {"session_ids": ["b", "c", "unknown"]}),
)
INSTANCE = "dreamserve-0:1"  # of nobody's: anyone may read the document
TICK_S = 1 / 64

# Verbs that the engine does not run: the body, and the verb that has the same result.
OUTSIDE: dict[str, tuple[dict[str, Any], str | None]] = {
    "admin_load": ({"folder": "takecover-2"}, "world"),
    "admin_unload": ({}, None),
}


@cache
def examples() -> dict[str, Example]:
    """Return an example of every verb by name."""
    engine, made = _engine(), dict[str, Example]()
    named = {name for name, _ in _REQUESTS}
    named |= OUTSIDE.keys()
    others = [verb for verb in VERBS if verb.name not in named]
    others.sort(key=lambda verb: verb.method == "DELETE")
    session = [(verb.name, {"session_id": "a"} if verb.of_session else {}) for verb in others]
    for name, fields in (*_REQUESTS, *session):
        verb = BY_NAME[name]
        if verb.body is not None:
            fields = {**fields, verb.body: made["snapshot"].result}
        result = engine.send(validated(verb.request, fields))
        in_body = {key: value for key, value in fields.items() if key not in verb.path_fields}
        body = fields[verb.body] if verb.body is not None else in_body
        shown = None if result is None else orjson.loads(encode(result, as_msgpack=False))
        made[name] = Example(body, shown)
    for name, (body, like) in OUTSIDE.items():
        made[name] = Example(body, None if like is None else made[like].result)
    return made


def _engine() -> SimpleEngine:
    ticks = count()
    return SimpleEngine([fake_world()], clock=lambda: TICK_S * next(ticks), instance=INSTANCE)
