"""A server for the SDK's tests: scripted responses, recorded requests, no port."""

import json
from typing import Any, ClassVar
from urllib.parse import unquote

import httpx
import pytest

from dreamserve_client import AsyncDreamClient, DreamClient
from dreamserve_client.codec import codec_for, listed

Outcome = httpx.Response | Exception
Fields = dict[str, Any]


class FakeServer:
    """Returns the scripted outcomes one after another, and then repeats the last one.

    A scripted result is that of the sessions which the request names, unless `echoes` is False.
    """

    echoes = True
    URL = "http://dreams.test"
    RESET: ClassVar[Fields] = {
        "session_id": "s1",
        "world": "pong",
        "step": 0,
        "latent": [0.5, -0.25],
        "seed": 7,
        "temperature": 1.0,
    }
    STEP: ClassVar[Fields] = {
        "session_id": "s1",
        "step": 1,
        "latent": [0.1, 0.2],
        "reward": 1.0,
        "terminated": False,
        "truncated": False,
        "info": {},
    }
    SESSION: ClassVar[Fields] = {
        "session_id": "s1",
        "world": "pong",
        "step": 4,
        "seed": 7,
        "temperature": 1.0,
        "terminated": False,
        "idle_s": 0.5,
        "rewindable_to": 0,
    }
    RESET_BATCH: ClassVar[Fields] = {
        "world": "pong",
        "session_ids": ["s1", "s2"],
        "latents": [[0.5, -0.25], [0.0, 1.0]],
        "seeds": [7, 2**53 - 1],
        "temperatures": [1.0, 0.5],
        "errors": [],
    }
    STEP_BATCH: ClassVar[Fields] = {
        "session_ids": ["s1", "s2"],
        "steps": [1, 1],
        "latents": [[0.1, 0.2], [0.3, 0.4]],
        "rewards": [1.0, 0.5],
        "terminated": [False, False],
        "truncated": [False, False],
        "errors": [],
    }
    PLAN: ClassVar[Fields] = {
        "action": 1,
        "actions": [1, 0, 2],
        "value": 2.0,
        "planner": "cem",
        "iterations": 4,
        "evaluations": 9,
        "elapsed_ms": 3.5,
        "cut_short": False,
    }
    FORK: ClassVar[Fields] = {
        "session_id": "s1",
        "world": "pong",
        "step": 3,
        "latent": [0.5, -0.25],
        "temperature": 1.0,
        "terminated": False,
        "session_ids": ["f1", "f2"],
        "seeds": [7, 8],
    }
    REWIND: ClassVar[Fields] = {
        "session_id": "s1",
        "world": "pong",
        "step": 1,
        "latent": [0.5, -0.25],
        "seed": 7,
        "temperature": 1.0,
        "terminated": False,
        "rewindable_to": 0,
    }
    WORLD: ClassVar[Fields] = {
        "name": "pong",
        "version": "0123456789abcdef",
        "backend": "onnx",
        "action_space": {"type": "Discrete", "n": 2, "names": ["up", "down"]},
        "action_names": ["up", "down"],
        "latent_size": 2,
        "frame_shape": [64, 64, 3],
        "quality": {"nll": 0.9},
    }

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[httpx.Request] = []

    @staticmethod
    def ok(fields: Fields, **changed: Any) -> httpx.Response:
        """Return a 200 response with JSON `fields`."""
        return httpx.Response(200, json={**fields, **changed})

    @staticmethod
    def problem(status: int, code: str, **headers: str) -> httpx.Response:
        """Return RFC 9457 problem details; underscores in header names stand for dashes."""
        body = {"status": status, "code": code, "detail": f"about {code}", "request_id": "r-1"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        media_type = {"content-type": "application/problem+json"}
        return httpx.Response(status, content=json.dumps(body), headers={**media_type, **named})

    @staticmethod
    def row_error(row: int, status: int, code: str) -> Fields:
        """Return the error of a batch's row."""
        return {"row": row, "code": code, "status": status, "detail": f"about {code}"}

    def body(self, index: int = -1) -> Fields:
        """Return the fields that a request carried, with arrays as lists."""
        request = self.requests[index]
        codec = codec_for(request.headers["content-type"])
        fields: Fields = listed(codec.decode(request.content))
        return fields

    def client(self, **options: Any) -> DreamClient:
        """Return a client of this server."""
        http = httpx.Client(transport=httpx.MockTransport(self._answer))
        return DreamClient(self.URL, http_client=http, **options)

    def async_client(self, **options: Any) -> AsyncDreamClient:
        """Return an asynchronous client of this server."""
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        return AsyncDreamClient(self.URL, http_client=http, **options)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        content = self._echo(outcome.content) if self.echoes else outcome.content
        named = {name: value for name, value in outcome.headers.items() if name != "content-length"}
        return httpx.Response(outcome.status_code, headers=named, content=content)

    def _echo(self, content: bytes) -> bytes:
        """Return a result with the ids that the last request names; all else as it is."""
        try:
            fields = json.loads(content)
        except ValueError:
            return content
        if not isinstance(fields, dict):
            return content
        ids = {name: asked for name, asked in self._ids().items() if name in fields}
        return json.dumps({**fields, **ids}).encode()

    def _ids(self) -> Fields:
        """Return the ids that the last request names, in its path or in its body."""
        request = self.requests[-1]
        asked = self.body() if request.content else {}
        if request.url.path.startswith("/sessions/"):
            asked["session_id"] = unquote(request.url.raw_path.decode().split("/")[2])
        return {name: asked[name] for name in ("session_id", "session_ids") if name in asked}


@pytest.fixture
def fake() -> type[FakeServer]:
    """Return the class of the scripted server, with its sample responses."""
    return FakeServer


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list of waits between attempts, in seconds, recorded instead of waited."""
    waited: list[float] = []

    async def note(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("dreamserve_client.client.sleep", waited.append)
    monkeypatch.setattr("dreamserve_client.async_client.sleep", note)
    return waited
