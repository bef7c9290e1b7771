"""What the service is asked: each body, field by field, and the engine's request it becomes.

Strict: no coercion between types (a bool is no integer, "1" no number), no unknown fields, finite
numbers only. What depends on the world (its action space, its shapes) the engine checks.
"""

from dreamserve.api.schemas.base import (
    SESSION_ID_LENGTH,
    Body,
    Seed,
    SessionId,
    Start,
    Temperature,
    check_session_id,
)
from dreamserve.api.schemas.branches import Fork, LastAnswer, LastInfo, Rewind, Snapshot
from dreamserve.api.schemas.futures import Objective, Plan, Rollout, Sample
from dreamserve.api.schemas.sessions import Reset, ResetBatch, Step, StepBatch

__all__ = [
    "SESSION_ID_LENGTH",
    "Body",
    "Fork",
    "LastAnswer",
    "LastInfo",
    "Objective",
    "Plan",
    "Reset",
    "ResetBatch",
    "Rewind",
    "Rollout",
    "Sample",
    "Seed",
    "SessionId",
    "Snapshot",
    "Start",
    "Step",
    "StepBatch",
    "Temperature",
    "check_session_id",
]
