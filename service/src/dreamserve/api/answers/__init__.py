"""What the service answers, field by field. The OpenAPI document is made of these models.

The engine's results have the same fields and are encoded as they are (`codec.as_fields`); tests
hold the answers against this document. A field that is not required is absent unless asked for.
"""

from dreamserve.api.answers.base import Answer
from dreamserve.api.answers.branches import ForkAnswer, LastAnswer, RewindAnswer, SnapshotAnswer
from dreamserve.api.answers.futures import (
    ComponentsAnswer,
    MostLikelyAnswer,
    PlanAnswer,
    RolloutAnswer,
    RolloutStatistics,
    SampleAnswer,
)
from dreamserve.api.answers.service import (
    Health,
    Index,
    Problem,
    WorldAnswer,
    WorldsAnswer,
    WorldSummary,
)
from dreamserve.api.answers.sessions import (
    ResetAnswer,
    ResetBatchAnswer,
    RowError,
    SessionAnswer,
    StepAnswer,
    StepBatchAnswer,
    StepInfo,
)

__all__ = [
    "Answer",
    "ComponentsAnswer",
    "ForkAnswer",
    "Health",
    "Index",
    "LastAnswer",
    "MostLikelyAnswer",
    "PlanAnswer",
    "Problem",
    "ResetAnswer",
    "ResetBatchAnswer",
    "RewindAnswer",
    "RolloutAnswer",
    "RolloutStatistics",
    "RowError",
    "SampleAnswer",
    "SessionAnswer",
    "SnapshotAnswer",
    "StepAnswer",
    "StepBatchAnswer",
    "StepInfo",
    "WorldAnswer",
    "WorldSummary",
    "WorldsAnswer",
]
