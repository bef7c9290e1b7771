"""The Python SDK of dreamserve: drive world-model dream sessions.

from dreamserve_client import DreamClient

with DreamClient("http://127.0.0.1:8000") as client, client.dream(seed=7) as dream:
    after = dream.step(1)
    print(after.reward, after.terminated, after.latent.shape)

Requests, results and problems are those of the protocol, `dreamserve_protocol`.
"""

from dreamserve_client.async_client import AsyncDreamClient, AsyncDreamSession
from dreamserve_client.calls import Call
from dreamserve_client.client import DreamClient, DreamSession
from dreamserve_client.dreams import AsyncDreams, Dreams
from dreamserve_client.errors import (
    APIConnectionError,
    APITimeoutError,
    ClosedError,
    ConfigurationError,
    ProtocolError,
)
from dreamserve_client.transports.base import AsyncTransport, Transport
from dreamserve_client.transports.in_process import AsyncInProcess, InProcess
from dreamserve_protocol.batches import ResetBatchResult, RowError, StepBatchResult
from dreamserve_protocol.branches import ForkResult, RewindResult
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    CallerError,
    DeadlinePassedError,
    DrainingError,
    DreamEndedError,
    DreamNotFiniteError,
    DreamserveError,
    EngineFailedError,
    ForbiddenError,
    InternalError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
    NotReadyError,
    OverloadedError,
    ProblemError,
    RateLimitedError,
    ServerError,
    SessionExpiredError,
    SessionLostError,
    SessionMovedError,
    SessionNotFoundError,
    SnapshotRefusedError,
    StepConflictError,
    StoreUnavailableError,
    TooLargeError,
    UnauthorizedError,
    UnsupportedMediaTypeError,
    WorldNotFoundError,
)
from dreamserve_protocol.ids import new_id, new_route, route_of
from dreamserve_protocol.listing import AdminSessionsResult, SessionsResult, SessionSummary
from dreamserve_protocol.plan import Objective, PlanResult
from dreamserve_protocol.policies import BundledPolicy, ConstantPolicy, LinearPolicy, RandomPolicy
from dreamserve_protocol.reset import ResetResult
from dreamserve_protocol.rollout import RolloutResult, RolloutStatistics
from dreamserve_protocol.sample import Components, MostLikely, SampleResult
from dreamserve_protocol.sessions import SessionResult
from dreamserve_protocol.step import StepResult
from dreamserve_protocol.worlds import WorldResult, WorldSummary

__all__ = [
    "APIConnectionError",
    "APITimeoutError",
    "AdminSessionsResult",
    "AsyncDreamClient",
    "AsyncDreamSession",
    "AsyncDreams",
    "AsyncInProcess",
    "AsyncTransport",
    "BundledPolicy",
    "Call",
    "CallerError",
    "ClosedError",
    "Components",
    "ConfigurationError",
    "ConstantPolicy",
    "DeadlinePassedError",
    "DrainingError",
    "DreamClient",
    "DreamEndedError",
    "DreamNotFiniteError",
    "DreamSession",
    "Dreams",
    "DreamserveError",
    "EngineFailedError",
    "ForbiddenError",
    "ForkResult",
    "InProcess",
    "InternalError",
    "InvalidActionError",
    "InvalidRequestError",
    "LinearPolicy",
    "MostLikely",
    "NotFiniteInputError",
    "NotReadyError",
    "Objective",
    "OverloadedError",
    "PlanResult",
    "ProblemError",
    "ProtocolError",
    "RandomPolicy",
    "RateLimitedError",
    "ResetBatchResult",
    "ResetResult",
    "RewindResult",
    "RolloutResult",
    "RolloutStatistics",
    "RowError",
    "SampleResult",
    "ServerError",
    "SessionExpiredError",
    "SessionLostError",
    "SessionMovedError",
    "SessionNotFoundError",
    "SessionResult",
    "SessionSummary",
    "SessionsResult",
    "SnapshotRefusedError",
    "Start",
    "StepBatchResult",
    "StepConflictError",
    "StepResult",
    "StoreUnavailableError",
    "TooLargeError",
    "Transport",
    "UnauthorizedError",
    "UnsupportedMediaTypeError",
    "WorldNotFoundError",
    "WorldResult",
    "WorldSummary",
    "new_id",
    "new_route",
    "route_of",
]
