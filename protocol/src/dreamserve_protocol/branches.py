"""POST /sessions/{session_id}/fork and /rewind: copy a session, or return to an earlier step."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from dreamserve_protocol.common import (
    Count,
    FrameFormat,
    HasEnded,
    Id,
    Ids,
    IsTruncated,
    OwnSeed,
    OwnTemperature,
    Seed,
    SessionId,
    StepsTaken,
    Whole,
    World,
    check_one,
    make_lists,
)
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.markers import Doc, Items, Message, Request
from dreamserve_protocol.reset import FrameArray, LatentArray, StateIncludes, Tensors, VectorArray


@dataclass(frozen=True, slots=True, eq=False)
class ForkRequest(Request["ForkResult"]):
    """Create new sessions that are copies of a session."""

    session_id: Annotated[SessionId, Doc("Session to fork; it does not change.")]
    count: Annotated[
        Count | None,
        Doc("Number of forks, instead of `session_ids`. Default: the number of seeds, or 1."),
    ] = None
    _: KW_ONLY
    session_ids: Annotated[
        Annotated[Sequence[SessionId], Items(1)] | None,
        Doc("Ids of the forks; a live session with such an id is replaced. Default: new ids."),
    ] = None
    seeds: Annotated[
        Annotated[Sequence[Seed], Items(1)] | None,
        Doc(
            "Seed of each fork. A different seed gives different noise from this step on. Default:"
            " the session's own seed, so the same actions give the same dream."
        ),
    ] = None
    include: StateIncludes = ()
    frame_format: FrameFormat = "array"

    def __post_init__(self) -> None:
        make_lists(self, "session_ids", "seeds")
        if self.session_ids is not None and self.count is not None:
            raise InvalidRequestError("give session_ids or count, not both")
        if self.seeds is not None and len(self.seeds) != self.rows:
            raise InvalidRequestError(
                f"{self.rows} forks need as many seeds, not {len(self.seeds)}"
            )
        ids = self.session_ids or ()
        if len(set(ids)) < len(ids):
            raise InvalidRequestError("the forks' session_ids must differ")
        if self.session_id in ids:
            raise InvalidRequestError(f"session {self.session_id} cannot be forked into itself")

    @property
    def rows(self) -> int:
        """The number of forks."""
        if self.session_ids is not None:
            return len(self.session_ids)
        return self.count or (1 if self.seeds is None else len(self.seeds))

    def may_be_resent(self) -> bool:
        """Return whether a request sent twice creates the same forks."""
        return self.session_ids is not None


@dataclass(frozen=True, slots=True, eq=False)
class ForkResult(Message):
    """The forks, and the state that they start from."""

    session_id: Annotated[str, Doc("Session that was forked.")]
    world: World
    step: StepsTaken
    latent: LatentArray
    temperature: OwnTemperature
    terminated: HasEnded
    session_ids: Ids
    seeds: Annotated[Sequence[int], Doc("Seed of each fork.")]
    truncated: IsTruncated = False
    frame: Annotated[FrameArray | None, Doc("Decoded frame, if included.")] = None
    state: Annotated[Tensors | None, Doc("Recurrent tensors, if included.")] = None
    vector: Annotated[VectorArray | None, Doc("Decoded vector, if included.")] = None


@dataclass(frozen=True, slots=True, eq=False)
class RewindRequest(Request["RewindResult"]):
    """Return a session to an earlier step within its window; later steps are discarded."""

    session_id: SessionId
    to_step: Annotated[
        Whole | None, Doc("Step to return to; the request may safely be sent again.")
    ] = None
    _: KW_ONLY
    steps: Annotated[
        Whole | None,
        Doc("Number of steps to go back, instead of `to_step`; each request goes back further."),
    ] = None
    include: StateIncludes = ()
    frame_format: FrameFormat = "array"

    def __post_init__(self) -> None:
        check_one(steps=self.steps, to_step=self.to_step)

    def may_be_resent(self) -> bool:
        """Return whether a request sent twice goes back to the same step."""
        return self.to_step is not None


@dataclass(frozen=True, slots=True, eq=False)
class RewindResult(Message):
    """The session at the earlier step."""

    session_id: Id
    world: World
    step: StepsTaken
    latent: LatentArray
    seed: OwnSeed
    temperature: OwnTemperature
    terminated: HasEnded
    rewindable_to: Annotated[int, Doc("Earliest step that a rewind can return to.")]
    truncated: IsTruncated = False
    frame: Annotated[FrameArray | None, Doc("Decoded frame, if included.")] = None
    state: Annotated[Tensors | None, Doc("Recurrent tensors, if included.")] = None
    vector: Annotated[VectorArray | None, Doc("Decoded vector, if included.")] = None
