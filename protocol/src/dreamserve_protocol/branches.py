"""POST /sessions/{session_id}/fork and /rewind: a dream goes on in other ways."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from dreamserve_protocol.common import (
    Count,
    HasEnded,
    Id,
    Ids,
    OwnSeed,
    OwnTemperature,
    Seed,
    SessionId,
    StepsTaken,
    Whole,
    World,
    check_one,
)
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.markers import Doc, Items, Message, Request
from dreamserve_protocol.reset import FrameArray, LatentArray, StateInclude, Tensors

_INCLUDE = Doc("Also answer the decoded frame, or the recurrent state.")


@dataclass(frozen=True, slots=True, eq=False)
class ForkRequest(Request["ForkResult"]):
    """Let a dream go on in more than one way: make new sessions that are where it is."""

    session_id: Annotated[SessionId, Doc("Session to fork; it does not move.")]
    count: Annotated[
        Count | None, Doc("Without ids: how many. Default: as many as seeds, or 1.")
    ] = None
    _: KW_ONLY
    session_ids: Annotated[
        Annotated[Sequence[SessionId], Items(1)] | None,
        Doc("Ids of the forks; a live session of such an id starts over. Default: new ids."),
    ] = None
    seeds: Annotated[
        Annotated[Sequence[Seed], Items(1)] | None,
        Doc(
            "Seed of each fork. A different seed gives different noise from this step on. Default:"
            " the session's own, so the same actions dream the same dream."
        ),
    ] = None
    include: Annotated[Sequence[StateInclude], Items(), _INCLUDE] = ()

    def __post_init__(self) -> None:
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
        """How many forks it makes."""
        if self.session_ids is not None:
            return len(self.session_ids)
        return self.count or len(self.seeds or "1")

    def may_be_resent(self) -> bool:
        """Tell whether sending it twice makes the same forks."""
        return self.session_ids is not None


@dataclass(frozen=True, slots=True, eq=False)
class ForkResult(Message):
    """The forks, where their dream goes on."""

    session_id: Annotated[str, Doc("Session that they were forked from.")]
    world: World
    step: StepsTaken
    latent: LatentArray
    temperature: OwnTemperature
    terminated: HasEnded
    session_ids: Ids
    seeds: Annotated[Sequence[int], Doc("Seed of each fork.")]
    frame: Annotated[FrameArray | None, Doc("If included.")] = None
    state: Annotated[Tensors | None, Doc("If included.")] = None


@dataclass(frozen=True, slots=True, eq=False)
class RewindRequest(Request["RewindResult"]):
    """Go back to an earlier step of the session's window, as if none had followed."""

    session_id: SessionId
    to_step: Annotated[
        Whole | None, Doc("Step to go back to; the same however often it is sent.")
    ] = None
    _: KW_ONLY
    steps: Annotated[Whole | None, Doc("Or by how many; each request goes back further.")] = None
    include: Annotated[Sequence[StateInclude], Items(), _INCLUDE] = ()

    def __post_init__(self) -> None:
        check_one(steps=self.steps, to_step=self.to_step)

    def may_be_resent(self) -> bool:
        """Tell whether sending it twice goes back to the same step."""
        return self.to_step is not None


@dataclass(frozen=True, slots=True, eq=False)
class RewindResult(Message):
    """A session after an earlier step."""

    session_id: Id
    world: World
    step: StepsTaken
    latent: LatentArray
    seed: OwnSeed
    temperature: OwnTemperature
    terminated: HasEnded
    rewindable_to: Annotated[int, Doc("The earliest step that it can go back to.")]
    frame: Annotated[FrameArray | None, Doc("If included.")] = None
    state: Annotated[Tensors | None, Doc("If included.")] = None
