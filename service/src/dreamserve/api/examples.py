"""One example of every body and every problem, for the OpenAPI document; tests hold them to it."""

from typing import Any

from pydantic import BaseModel

from dreamserve.api import answers, schemas

_ID = "5f2c9a7e11d04b6c8a3e"
_LATENT = [0.12, -1.4, 0.83]  # a world with Z = 3

_WORLD: dict[str, Any] = {
    "name": "takecover",
    "version": "0f3c5e7a91b2d4c6",
    "backend": "onnx-cpu",
    "action_space": {"type": "Discrete", "n": 3, "names": ["stay", "left", "right"]},
    "action_names": ["stay", "left", "right"],
    "latent_size": 3,
    "frame_shape": [64, 64, 3],
    "quality": {"nll_per_dimension": 1.02},
}

_SNAPSHOT = {
    "format": "dreamserve-snapshot",
    "format_version": 1,
    "world": "takecover",
    "world_version": "c5e0af4ddd2fa9f5",
    "step": 1,
    "seed": 7,
    "temperature": 1.0,
    "terminated": False,
    "latent": _LATENT,
    "state": {"h": [0.1, -0.2], "c": [0.3, 0.0]},
    "rewind_window": 0,
    "action": 1,
    "reward": 1.0,
    "digest": "d41d8cd98f00b204e9800998ecf8427e",
}

BODIES: dict[type[BaseModel], dict[str, Any]] = {
    schemas.Reset: {"world": "takecover", "session_id": _ID, "seed": 7, "temperature": 1.0},
    schemas.Step: {"session_id": _ID, "action": 1, "step": 1},
    schemas.StepBatch: {"session_ids": [_ID, "b"], "actions": [1, 0], "steps": [1, 4]},
    schemas.ResetBatch: {"session_ids": [_ID, "b"], "seeds": [7, 8]},
    schemas.Sample: {
        "session_id": _ID,
        "futures": 2,
        "horizon": 2,
        "actions": [1, 1],
        "include": ["entropy", "most_likely", "components"],
    },
    schemas.Rollout: {
        "world": "takecover",
        "policy": {
            "kind": "linear",
            "weights": [[0.0, 0.1, 0.0], [1.3, 0.2, -0.4], [-1.3, 0.2, 0.4]],
            "bias": [0.5, 0.0, 0.0],
            "inputs": ["latent"],
        },
        "episodes": 2,
        "max_steps": 2100,
        "seed": 7,
    },
    schemas.Plan: {"session_id": _ID, "planner": "cem", "horizon": 4, "candidates": 128},
    answers.ResetAnswer: {
        "session_id": _ID,
        "world": "takecover",
        "step": 0,
        "latent": _LATENT,
        "seed": 7,
        "temperature": 1.0,
    },
    answers.StepAnswer: {
        "session_id": _ID,
        "step": 1,
        "latent": _LATENT,
        "reward": 1.0,
        "terminated": False,
        "truncated": False,
        "info": {},
    },
    answers.StepBatchAnswer: {
        "session_ids": [_ID, "b"],
        "steps": [1, 0],
        "latents": [_LATENT, [0.0, 0.0, 0.0]],
        "rewards": [1.0, 0.0],
        "terminated": [False, False],
        "truncated": [False, False],
        "errors": [
            {
                "row": 1,
                "code": "step_conflict",
                "status": 409,
                "detail": "the next step is 3, not 4",
            }
        ],
    },
    answers.ResetBatchAnswer: {
        "world": "takecover",
        "session_ids": [_ID, "b"],
        "latents": [_LATENT, _LATENT],
        "seeds": [7, 8],
        "temperatures": [1.0, 1.0],
        "errors": [],
    },
    answers.SampleAnswer: {
        "latents": [[_LATENT, _LATENT], [_LATENT, _LATENT]],
        "rewards": [[1.0, 1.0], [1.0, 0.0]],
        "terminated": [[False, False], [True, True]],
        "entropy": [[0.56, 0.61], [0.56, 0.0]],
        "differential_entropy": [[-0.83, -0.79], [-0.83, 0.0]],
        "most_likely": {
            "latents": [_LATENT, _LATENT],
            "rewards": [1.0, 1.0],
            "terminated": [False, False],
        },
        "components": {
            "weights": [0.75, 0.25],
            "order": [1, 0],
            "latents": [[_LATENT, _LATENT], [_LATENT, _LATENT]],
            "rewards": [[1.0, 1.0], [1.0, 0.0]],
            "terminated": [[False, False], [True, True]],
        },
    },
    answers.RolloutAnswer: {
        "world": "takecover",
        "seeds": [2917840036714571, 8800541873206942],
        "temperature": 1.0,
        "returns": [[312.0, 1077.0]],
        "lengths": [[312, 1077]],
        "terminated": [[True, True]],
        "finite": [[True, True]],
        "statistics": {
            "episodes": [2],
            "mean_return": [694.5],
            "std_return": [540.9],
            "min_return": [312.0],
            "max_return": [1077.0],
            "mean_length": [694.5],
            "std_length": [540.9],
            "share_terminated": [1.0],
        },
    },
    answers.PlanAnswer: {
        "action": 2,
        "actions": [2, 2, 0, 1],
        "value": 3.94,
        "planner": "cem",
        "iterations": 6,
        "evaluations": 769,
        "elapsed_ms": 11.8,
        "cut_short": False,
    },
    schemas.Fork: {"session_ids": ["b", "c"], "seeds": [7, 8]},
    schemas.Rewind: {"to_step": 2},
    schemas.Snapshot: _SNAPSHOT,
    answers.SnapshotAnswer: _SNAPSHOT,
    answers.ForkAnswer: {
        "session_id": _ID,
        "world": "takecover",
        "step": 3,
        "latent": _LATENT,
        "temperature": 1.0,
        "terminated": False,
        "session_ids": ["b", "c"],
        "seeds": [7, 8],
    },
    answers.RewindAnswer: {
        "session_id": _ID,
        "world": "takecover",
        "step": 2,
        "latent": _LATENT,
        "seed": 7,
        "temperature": 1.0,
        "terminated": False,
        "rewindable_to": 0,
    },
    answers.SessionAnswer: {
        "session_id": _ID,
        "world": "takecover",
        "step": 1,
        "seed": 7,
        "temperature": 1.0,
        "terminated": False,
        "idle_s": 0.4,
        "rewindable_to": 1,
    },
    answers.WorldsAnswer: {"worlds": [_WORLD]},
    answers.WorldAnswer: {**_WORLD, "manifest": {"schema_version": 1, "name": "takecover"}},
    answers.Index: {
        "name": "dreamserve",
        "version": "0.1.0",
        "docs": "/docs",
        "openapi": "/openapi.json",
        "worlds": "/worlds",
        "ready": "/readyz",
    },
}

DETAILS: dict[str, str] = {
    "invalid_request": "horizon: Input should be greater than or equal to 1",
    "invalid_action": "action 3 is not in Discrete(3): send 0 to 2",
    "not_finite": "latent: element [4] is not a finite float32 number",
    "session_not_found": f"no session {_ID}",
    "session_expired": f"session {_ID} was idle for too long; /reset starts it over",
    "step_conflict": "the next step is 5, not 7",
    "snapshot_refused": "the digest does not fit: the snapshot is damaged or was edited",
    "world_not_found": "no world 'doom'; loaded: takecover",
    "too_large": "2000 futures x 2000 steps are 4000000 steps, over the bound of 2000000",
    "overloaded": "all 10000 sessions are taken; try again in a second",
    "engine_failed": "the batch could not be computed; the step was not taken",
    "draining": "the server is shutting down and takes no new sessions",
    "not_ready": "the engine is not running: it warms up, or failed",
    "not_found": "no such path: /stepp; GET /docs lists them",
    "method_not_allowed": "GET is not answered here; POST is",
    "unsupported_media_type": "Content-Type text/plain is not read here;"
    " send application/json or application/msgpack",
    "internal_error": "an unexpected error; the server's log has it under its request_id",
}
