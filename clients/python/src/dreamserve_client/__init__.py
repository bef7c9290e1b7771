"""The Python SDK of dreamserve: drive world-model dream sessions over HTTP.

from dreamserve_client import DreamClient

with DreamClient("http://127.0.0.1:8000") as client, client.dream(seed=7) as dream:
    after = dream.step(1)
    print(after.reward, after.terminated, after.latent.shape)
"""

from dreamserve_client.async_client import AsyncDreamClient, AsyncDreamSession
from dreamserve_client.client import DreamClient, DreamSession
from dreamserve_client.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    DrainingError,
    DreamserveError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteError,
    OverloadedError,
    ProtocolError,
    ServerError,
    SessionExpiredError,
    SessionLostError,
    SessionNotFoundError,
    SnapshotRefusedError,
    StepConflictError,
    TooLargeError,
    UnauthorizedError,
    WorldNotFoundError,
)
from dreamserve_client.types import (
    Components,
    Fork,
    Mixture,
    MostLikely,
    Plan,
    Reset,
    ResetBatch,
    Rewind,
    Sample,
    SessionInfo,
    Snapshot,
    Start,
    Step,
    StepBatch,
    World,
)

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncDreamClient",
    "AsyncDreamSession",
    "Components",
    "DrainingError",
    "DreamClient",
    "DreamSession",
    "DreamserveError",
    "Fork",
    "InvalidActionError",
    "InvalidRequestError",
    "Mixture",
    "MostLikely",
    "NotFiniteError",
    "OverloadedError",
    "Plan",
    "ProtocolError",
    "Reset",
    "ResetBatch",
    "Rewind",
    "Sample",
    "ServerError",
    "SessionExpiredError",
    "SessionInfo",
    "SessionLostError",
    "SessionNotFoundError",
    "Snapshot",
    "SnapshotRefusedError",
    "Start",
    "Step",
    "StepBatch",
    "StepConflictError",
    "TooLargeError",
    "UnauthorizedError",
    "World",
    "WorldNotFoundError",
]
