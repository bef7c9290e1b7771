"""POST /reset/batch, /step/batch and /delete/batch: many dreams of one world in columns.

Row i of every column belongs to dream i. A failed row has its own error and affects no other row.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any, Literal

from dreamserve_protocol.arrays import Array, Bools, Float32, Int64, UInt8
from dreamserve_protocol.common import (
    OF_ACTION,
    Age,
    AnyId,
    Count,
    FrameFormat,
    Ids,
    Integers,
    LoadedWorld,
    MaxSteps,
    Numbers,
    SessionId,
    Whole,
    World,
    check_not_both,
    check_one,
    make_lists,
)
from dreamserve_protocol.errors import InvalidActionError, InvalidRequestError, ProblemError
from dreamserve_protocol.markers import Doc, Items, Message, Request
from dreamserve_protocol.reset import StateIncludes

StepBatchInclude = Literal["frame", "vector", "state", "signals"]
LatentRows = Annotated[Float32, Array("float32 B Z")]
Frames = Annotated[
    Annotated[UInt8, Array("uint8 B H W C")] | None, Doc("Decoded frames, if included.")
]
Vectors = Annotated[
    Annotated[Float32, Array("float32 B n")] | None, Doc("Decoded vectors, if included.")
]
States = Annotated[
    dict[str, Annotated[Float32, Array("float32 *")]] | None,
    Doc("Recurrent tensors by name, each with B rows, if included."),
]


@dataclass(frozen=True, slots=True)
class RowError(Message):
    """Why one row of a batch failed."""

    row: Annotated[int, Doc("Number of the row, from 0.")]
    code: Annotated[str, Doc("Identifies the error; docs/errors.md lists the codes.")]
    status: Annotated[int, Doc("Status that /step or /reset would have returned.")]
    detail: Annotated[str, Doc("What was wrong, where, and what would be valid.")]

    @classmethod
    def of(cls, row: int, error: ProblemError) -> "RowError":
        """Return the entry for a row that failed with `error`."""
        return cls(row, error.code, error.status, error.detail)


Errors = Annotated[list[RowError], Doc("Errors of the failed rows; often empty.")]


@dataclass(frozen=True, slots=True, eq=False)
class ResetBatchRequest(Request["ResetBatchResult"]):
    """Begin many dreams in one world, or start them over."""

    count: Annotated[
        Count | None, Doc("B, the number of dreams, instead of `session_ids`; ids are generated.")
    ] = None
    _: KW_ONLY
    world: LoadedWorld = None
    session_ids: Annotated[
        Annotated[Sequence[SessionId], Items(1)] | None,
        Doc("B different ids, as `session_id` of /reset."),
    ] = None
    seeds: Annotated[Integers | None, Doc("Default: drawn, and returned.")] = None
    temperatures: Annotated[
        Annotated[Numbers, Array("float64 B", finite=False)] | None, Doc("Default: 1.")
    ] = None
    bank: Annotated[
        Integers | None, Doc("Bank entries to start at. Default: drawn from the seeds.")
    ] = None
    latents: Annotated[
        Annotated[Numbers, Array("float32 B Z", finite=False)] | None,
        Doc("Latents to start at instead; the recurrent state starts at zero."),
    ] = None
    age: Age = None
    rewind_window: Annotated[Whole, Doc("Rewind window of each session, as in /reset.")] = 0
    max_steps: MaxSteps = None
    include: StateIncludes = ()
    frame_format: FrameFormat = "array"

    def __post_init__(self) -> None:
        make_lists(self, "session_ids")
        check_one(session_ids=self.session_ids, count=self.count)
        if sum(start is not None for start in (self.bank, self.latents, self.age)) > 1:
            raise InvalidRequestError("give one of bank, latents and age")
        names = ("seeds", "temperatures", "bank", "latents")
        _check_lengths(self.rows, {name: getattr(self, name) for name in names})

    @property
    def rows(self) -> int:
        """B, the number of dreams."""
        return len(self.session_ids) if self.session_ids is not None else self.count or 0


@dataclass(frozen=True, slots=True, eq=False)
class ResetBatchResult(Message):
    """Many dreams at step 0, in the order of the request. A row with an error holds zeros."""

    world: World
    session_ids: Ids
    latents: LatentRows
    seeds: Annotated[Int64, Array("int64 B")]
    temperatures: Annotated[Float32, Array("float32 B")]
    errors: Errors = field(default_factory=list)
    frames: Frames = None
    state: States = None
    vectors: Vectors = None


@dataclass(frozen=True, slots=True, eq=False)
class StepBatchRequest(Request["StepBatchResult"]):
    """Advance many dreams of one world, each by one action."""

    session_ids: Annotated[Sequence[AnyId], Items(1), Doc("B different sessions of one world.")]
    actions: Annotated[
        Numbers,
        Array("int64 B", "int64 B A", "float32 B A", finite=False, error=InvalidActionError),
        Doc(f"For each session: {OF_ACTION}"),
    ]
    _: KW_ONLY
    steps: Annotated[Integers | None, Doc("Number of each step, as `step` of /step.")] = None
    observations: Annotated[
        Annotated[Numbers, Array("uint8 B H W C", "float32 B Z", finite=False)] | None,
        Doc("Real outcomes of the actions, frames or latents, as `observation` of /step."),
    ] = None
    include: Annotated[
        Sequence[StepBatchInclude],
        Items(),
        Doc(
            "Also return the decoded frame (`frame`) or vector (`vector`), the recurrent state"
            " (`state`), the world's signals (`signals`)."
        ),
    ] = ()
    frame_format: FrameFormat = "array"
    on_end: Annotated[
        Literal["stay", "restart"],
        Doc(
            "What happens to a dream that this step ends: it stays ended (`stay`), or a new one"
            " begins in its session at once, at a bank entry and with a seed that follow from the"
            " old seed (`restart`). The session's step numbers continue."
        ),
    ] = "stay"
    vectors: Annotated[
        Annotated[Numbers, Array("float32 B n", finite=False)] | None,
        Doc("In a world of vectors: real outcomes of the actions, as `vector` of /step."),
    ] = None

    def __post_init__(self) -> None:
        make_lists(self, "session_ids")
        check_not_both(observations=self.observations, vectors=self.vectors)
        names = ("actions", "steps", "observations", "vectors")
        _check_lengths(len(self.session_ids), {name: getattr(self, name) for name in names})

    def may_be_resent(self) -> bool:
        """Return whether a request sent twice takes only one step of each dream."""
        return self.steps is not None


@dataclass(frozen=True, slots=True, eq=False)
class FinalRows(Message):
    """The ends of F dreams that were replaced by new ones."""

    rows: Annotated[Int64, Array("int64 F"), Doc("Their rows in the batch, ascending.")]
    latents: Annotated[Float32, Array("float32 F Z"), Doc("Their last latents.")]
    seeds: Annotated[Int64, Array("int64 F"), Doc("Seeds of the new dreams.")]
    frames: Annotated[
        Annotated[UInt8, Array("uint8 F H W C")] | None, Doc("Their last frames, if included.")
    ] = None
    state: States = None
    vectors: Annotated[
        Annotated[Float32, Array("float32 F n")] | None, Doc("Their last vectors, if included.")
    ] = None


@dataclass(frozen=True, slots=True, eq=False)
class StepBatchResult(Message):
    """Many dreams, each one step later, in the order of the request. Failed rows hold zeros.

    In the row of a restarted dream, `latents`, `frames` and `state` are those of the new dream at
    its beginning; all other fields describe the step that ended the old one. See `final`.
    """

    session_ids: Ids
    steps: Annotated[Int64, Array("int64 B")]
    latents: LatentRows
    rewards: Annotated[Float32, Array("float32 B")]
    terminated: Annotated[Bools, Array("bool B")]
    truncated: Annotated[Bools, Array("bool B")]
    errors: Errors = field(default_factory=list)
    frames: Frames = None
    state: States = None
    surprise: Annotated[
        Annotated[Float32, Array("float32 B")] | None,
        Doc("As `info.surprise` of /step, if there were observations."),
    ] = None
    expected_surprise: Annotated[
        Annotated[Float32, Array("float32 B")] | None, Doc("As `info.expected_surprise` of /step.")
    ] = None
    predicted_terminated: Annotated[
        Annotated[Bools, Array("bool B")] | None, Doc("As `info.predicted_terminated` of /step.")
    ] = None
    end_probability: Annotated[
        Annotated[Float32, Array("float32 B")] | None, Doc("As `info.end_probability` of /step.")
    ] = None
    final: Annotated[FinalRows | None, Doc("With `restart`: the dreams that ended.")] = None
    vectors: Vectors = None
    signals: Annotated[
        dict[str, Annotated[Float32, Array("float32 B")]] | None,
        Doc("The world's signals by name, if included."),
    ] = None


@dataclass(frozen=True, slots=True, eq=False)
class DeleteBatchRequest(Request["DeleteBatchResult"]):
    """End many sessions."""

    session_ids: Annotated[Sequence[AnyId], Items(1), Doc("B different sessions, of any world.")]

    def __post_init__(self) -> None:
        make_lists(self, "session_ids")


@dataclass(frozen=True, slots=True, eq=False)
class DeleteBatchResult(Message):
    """The sessions without an error have ended."""

    session_ids: Ids
    errors: Errors = field(default_factory=list)


def _check_lengths(rows: int, columns: dict[str, Any]) -> None:
    for name, column in columns.items():
        if column is not None and len(column) != rows:
            raise InvalidRequestError(f"{name} has {len(column)} rows, the batch {rows}")
