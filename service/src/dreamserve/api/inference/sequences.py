"""What a request of the Open Inference Protocol does: begin, step and end a dream.

A sequence is the session of the same id. A request may begin a dream (`sequence_start`), take a
step (input `action`) and end the dream (`sequence_end`), in this order; one that fails begins
nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from dreamserve.api.access.callers import Caller
from dreamserve.api.inference.catalog import Catalog
from dreamserve.api.inference.models import STATE, Model
from dreamserve.api.inference.tensors import Input, Output, chosen, read
from dreamserve.engine.sessions.keys import SessionKey, key_of
from dreamserve.validation import validated
from dreamserve_protocol.common import MaxSteps, Seed, SessionId, Temperature, Whole
from dreamserve_protocol.errors import (
    InvalidRequestError,
    ProblemError,
    SessionExpiredError,
    SessionLostError,
    SessionNotFoundError,
    StepConflictError,
)
from dreamserve_protocol.markers import Items, Message, Range
from dreamserve_protocol.reset import ResetRequest, ResetResult
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    SessionRequest,
    Snapshot,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest, StepResult

_OF_START = ("seed", "temperature", "rewind_window", "max_steps", "bank")

Ask = Callable[[Any], Awaitable[Any]]  # returns a request's result, or raises its error
Insist = Callable[[Any, Caller], Awaitable[bool]]  # runs a request, and tells whether it succeeded
Result = ResetResult | StepResult | None


@dataclass(frozen=True, slots=True, eq=False)
class Parameters(Message):
    """Parameters of a request; those after `binary_data_output` go with `sequence_start`."""

    sequence_id: Annotated[int, Range(0, 2**64 - 1)] | SessionId = 0
    sequence_start: bool = False
    sequence_end: bool = False
    binary_data_output: bool = False
    seed: Seed | None = None
    temperature: Temperature | None = None
    rewind_window: Whole | None = None
    max_steps: MaxSteps = None
    bank: Whole | None = None

    def __post_init__(self) -> None:
        if not self.sequence_id:
            raise InvalidRequestError("sequence_id must be given: a world is stepped in sequences")
        names = [name for name in _OF_START if getattr(self, name) is not None]
        if names and not self.sequence_start:
            raise InvalidRequestError(f"only with sequence_start: {', '.join(names)}")

    def reset_fields(self) -> dict[str, Any]:
        """Return the fields of /reset that are given."""
        fields = {name: getattr(self, name) for name in _OF_START}
        bank = fields.pop("bank")
        fields["start"] = None if bank is None else {"bank": bank}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest(Message):
    """The JSON of an inference request."""

    parameters: Parameters
    id: str | None = None
    inputs: Annotated[Sequence[Input], Items()] = ()
    outputs: Annotated[Sequence[Output], Items()] = ()


class Asked(NamedTuple):
    """An inference request that was read, except for its tensors, which the model declares."""

    name: str  # of the world in its path
    version: str | None  # in its path
    infer: InferRequest
    binary: bytes

    @property
    def session_id(self) -> str:
        """The session's id: that of the sequence, as text."""
        return str(self.infer.parameters.sequence_id)


class Call(NamedTuple):
    """An inference request of a model."""

    model: Model
    id: str | None
    parameters: Parameters
    action: Any  # an array, or None
    outputs: dict[str, bool]  # names, and whether as binary data

    @property
    def session_id(self) -> str:
        """The session's id: that of the sequence, as text."""
        return str(self.parameters.sequence_id)

    @property
    def include(self) -> list[str]:
        """What the outputs need beside the latent."""
        state = any(name.startswith(STATE) for name in self.outputs)
        return [*(name for name in ("frame", "vector") if name in self.outputs), *["state"] * state]


def asked_of(name: str, version: str | None, fields: dict[str, Any], binary: bytes) -> Asked:
    """Return the request of a body's JSON and binary data. Raises CallerError."""
    infer = validated(InferRequest, {"parameters": {}, **fields})
    parameters = infer.parameters
    if not (infer.inputs or parameters.sequence_start or parameters.sequence_end):
        raise InvalidRequestError("inputs: an action, unless sequence_start or sequence_end is set")
    return Asked(name, version, infer, binary)


def call_of(model: Model, asked: Asked) -> Call:
    """Return a request with the tensors that its model declares. Raises CallerError."""
    infer, parameters = asked.infer, asked.infer.parameters
    action = read(infer.inputs, model.action, asked.binary)
    outputs = chosen(infer.outputs, model.outputs, parameters.binary_data_output)
    call = Call(model, infer.id, parameters, action, outputs)
    if action is not None and parameters.sequence_start:  # before a dream is begun for it
        model.action_space.check(_step_of(call).action)
    return call


class Sequences:
    """Runs requests on the sessions of an engine."""

    def __init__(self, insist: Insist, catalog: Catalog) -> None:
        self._insist, self._catalog = insist, catalog
        self._beginning = set[SessionKey]()  # sessions that a request is about to begin

    async def call(self, asked: Asked, ask: Ask) -> Call:
        """Return the call of the model that the sequence is of, or begins on.

        A lost sequence is of no world that is here, so any path may end it. Raises as `ask`, and
        ProblemError.
        """
        catalog, name, version = self._catalog, asked.name, asked.version
        if asked.infer.parameters.sequence_start:
            return call_of(catalog.find_loaded(name, version), asked)
        model = catalog.find(name, version)
        if not catalog.is_single:
            try:
                live = await ask(SessionRequest(asked.session_id))
            except ProblemError as error:
                call = call_of(model, asked)  # its own errors are told first
                if isinstance(error, SessionLostError) and call.action is None:
                    return call
                raise
            model = catalog.model_of(live, name, version)
        return call_of(model, asked)

    async def run(self, call: Call, ask: Ask, caller: Caller) -> Result:
        """Return the last state of the dream, None if the request only ends it.

        Raises as `ask`, and ProblemError.
        """
        session_id, begins = call.session_id, call.parameters.sequence_start
        replaced: Snapshot | None = None
        if begins:
            begun, replaced = await self._begin(call, ask, caller)
            result: Result = begun
        if call.action is not None:
            try:
                result = await ask(_step_of(call))
            except Exception:
                if begins:
                    await self._undo(session_id, replaced, caller)
                raise
        elif not begins:
            await ask(DeleteRequest(session_id))
            return None
        if call.parameters.sequence_end:
            await self._insist(DeleteRequest(session_id), caller)
        return result

    async def _undo(self, session_id: str, replaced: Snapshot | None, caller: Caller) -> None:
        """End a dream that has begun in vain; the ended one that it replaced is there again."""
        if replaced is None or not await self._insist(RestoreRequest(session_id, replaced), caller):
            await self._insist(DeleteRequest(session_id), caller)

    async def _begin(
        self, call: Call, ask: Ask, caller: Caller
    ) -> tuple[ResetResult, Snapshot | None]:
        """Begin the dream, but not in place of one that goes on.

        Return its first state, and the ended dream that it replaced, if that may be undone. Raises
        StepConflictError.
        """
        replaced: Snapshot | None = None
        session_id, key = call.session_id, key_of(caller.owner, call.session_id)
        if key in self._beginning:
            raise StepConflictError(f"another request is beginning sequence {session_id}")
        self._beginning.add(key)
        try:
            with suppress(SessionNotFoundError, SessionExpiredError, SessionLostError):
                live = await ask(SessionRequest(session_id))
                if not (live.terminated or live.truncated):
                    raise StepConflictError(
                        f"sequence {session_id} is at step {live.step} of a dream in {live.world};"
                        " end it with sequence_end, or begin another one"
                    )
                if call.action is not None:
                    replaced = await ask(SnapshotRequest(session_id))
            include = call.include if call.action is None else []
            fields = {"world": call.model.name, "session_id": session_id, "include": include}
            reset = validated(ResetRequest, {**fields, **call.parameters.reset_fields()})
            return await ask(reset), replaced
        finally:
            self._beginning.discard(key)


def _step_of(call: Call) -> StepRequest:
    action = call.action if call.model.action_space.shape else int(call.action[0])
    fields = {"session_id": call.session_id, "action": action, "include": call.include}
    return validated(StepRequest, fields)
