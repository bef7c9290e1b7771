"""What is asked of the engine and what it answers. Who fills each field is said beside it.

A request is checked in form by whoever builds it (the API, `dreamserve.dream`); the engine checks
it against the world. Every submitted request ends in exactly one answer: a result or an error.
"""

from dreamserve.engine.types.base import (
    NOTHING,
    BankStart,
    Float32,
    FramesStart,
    Include,
    LatentStart,
    Start,
    UInt8,
)
from dreamserve.engine.types.branches import (
    ForkRequest,
    ForkResult,
    RestoreRequest,
    RewindRequest,
    RewindResult,
    Snapshot,
    SnapshotRequest,
)
from dreamserve.engine.types.futures import (
    UNBOUNDED,
    Components,
    MostLikely,
    Objective,
    PlanRequest,
    PlanResult,
    RolloutRequest,
    RolloutResult,
    SampleBounds,
    SampleRequest,
    SampleResult,
)
from dreamserve.engine.types.policies import (
    BundledPolicy,
    ConstantPolicy,
    LinearPolicy,
    Policy,
    RandomPolicy,
    check_single,
    policy_count,
)
from dreamserve.engine.types.sessions import (
    ResetBatchRequest,
    ResetBatchResult,
    ResetRequest,
    ResetResult,
    SessionInfo,
    SessionQuery,
    StepBatchRequest,
    StepBatchResult,
    StepRequest,
    StepResult,
)

Request = (
    ResetRequest
    | StepRequest
    | StepBatchRequest
    | ResetBatchRequest
    | SampleRequest
    | PlanRequest
    | RolloutRequest
    | ForkRequest
    | RewindRequest
    | SnapshotRequest
    | RestoreRequest
    | SessionQuery
)
Result = (
    ResetResult
    | StepResult
    | StepBatchResult
    | ResetBatchResult
    | SampleResult
    | PlanResult
    | RolloutResult
    | ForkResult
    | RewindResult
    | Snapshot
    | SessionInfo
)

__all__ = [
    "NOTHING",
    "UNBOUNDED",
    "BankStart",
    "BundledPolicy",
    "Components",
    "ConstantPolicy",
    "Float32",
    "ForkRequest",
    "ForkResult",
    "FramesStart",
    "Include",
    "LatentStart",
    "LinearPolicy",
    "MostLikely",
    "Objective",
    "PlanRequest",
    "PlanResult",
    "Policy",
    "RandomPolicy",
    "Request",
    "ResetBatchRequest",
    "ResetBatchResult",
    "ResetRequest",
    "ResetResult",
    "RestoreRequest",
    "Result",
    "RewindRequest",
    "RewindResult",
    "RolloutRequest",
    "RolloutResult",
    "SampleBounds",
    "SampleRequest",
    "SampleResult",
    "SessionInfo",
    "SessionQuery",
    "Snapshot",
    "SnapshotRequest",
    "Start",
    "StepBatchRequest",
    "StepBatchResult",
    "StepRequest",
    "StepResult",
    "UInt8",
    "check_single",
    "policy_count",
]
