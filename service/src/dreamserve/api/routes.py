"""The routes: parse, ask the engine, answer."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from dreamserve import __version__
from dreamserve.api import answers, schemas
from dreamserve.api.exchange import (
    Service,
    answer,
    answer_rows,
    ask,
    header,
    read,
    refuse_new_sessions,
    require_same_session,
)
from dreamserve.api.limits import sample_bounds
from dreamserve.api.openapi import operation
from dreamserve.api.problems import problem
from dreamserve.engine.types import RestoreRequest, SessionQuery, SnapshotRequest
from dreamserve.engine.world import World
from dreamserve.errors import (
    DrainingError,
    DreamNotFiniteError,
    EngineFailedError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
    OverloadedError,
    SessionExpiredError,
    SessionNotFoundError,
    SnapshotRefusedError,
    StepConflictError,
    TooLargeError,
    WorldNotFoundError,
)

router = APIRouter()

_BODY = (InvalidRequestError, NotFiniteInputError, TooLargeError)
_SESSION = (SessionNotFoundError, SessionExpiredError)
_COMPUTED = (OverloadedError, DreamNotFiniteError, EngineFailedError, DrainingError)
_MEDIA = {415: ["unsupported_media_type"]}


@router.post(
    "/reset",
    tags=["dreams"],
    **operation(
        answers.ResetAnswer,
        schemas.Reset,
        errors=(*_BODY, InvalidActionError, WorldNotFoundError, *_COMPUTED),
        more_problems=_MEDIA,
        of_session=True,
    ),
)
async def reset(request: Request) -> Response:
    """Begin a dream, or start one over."""
    body = await read(request, schemas.Reset)
    await refuse_new_sessions(request, body.session_id)
    return answer(request, await ask(request, body.to_engine()))


@router.post(
    "/step",
    tags=["dreams"],
    **operation(
        answers.StepAnswer,
        schemas.Step,
        errors=(*_BODY, InvalidActionError, *_SESSION, StepConflictError, *_COMPUTED),
        more_problems=_MEDIA,
        of_session=True,
    ),
)
async def step(request: Request) -> Response:
    """Advance a dream by one action."""
    body = await read(request, schemas.Step)
    return answer(request, await ask(request, body.to_engine()))


@router.post(
    "/reset/batch",
    tags=["dreams"],
    **operation(
        answers.ResetBatchAnswer,
        schemas.ResetBatch,
        errors=(*_BODY, WorldNotFoundError, *_COMPUTED),
        more_problems=_MEDIA,
    ),
)
async def reset_batch(request: Request) -> Response:
    """Begin many dreams, or start them over; a bad row gets its own error and harms no other."""
    body = await read(request, schemas.ResetBatch)
    known_only = Service.of(request).draining
    return await answer_rows(request, await ask(request, body.to_engine(known_only)))


@router.post(
    "/step/batch",
    tags=["dreams"],
    **operation(
        answers.StepBatchAnswer,
        schemas.StepBatch,
        errors=(*_BODY, InvalidActionError, *_COMPUTED),
        more_problems=_MEDIA,
    ),
)
async def step_batch(request: Request) -> Response:
    """Advance many dreams of one world; a bad row gets its own error and harms no other."""
    body = await read(request, schemas.StepBatch)
    return await answer_rows(request, await ask(request, body.to_engine()))


@router.post(
    "/sample",
    tags=["dreams"],
    **operation(
        answers.SampleAnswer,
        schemas.Sample,
        errors=(*_BODY, InvalidActionError, *_SESSION, WorldNotFoundError, *_COMPUTED),
        more_problems=_MEDIA,
        of_session=True,
    ),
)
async def sample(request: Request) -> Response:
    """Dream many futures from a session's present, or from a start; nothing moves."""
    body = await read(request, schemas.Sample)
    bounds = sample_bounds(Service.of(request).settings)
    return await answer_rows(request, await ask(request, body.to_engine(bounds)))


@router.post(
    "/rollout",
    tags=["dreams"],
    **operation(
        answers.RolloutAnswer,
        schemas.Rollout,
        errors=(
            *(*_BODY, InvalidActionError, *_SESSION, WorldNotFoundError, StepConflictError),
            *_COMPUTED,
        ),
        more_problems=_MEDIA,
        of_session=True,
    ),
)
async def rollout(request: Request) -> Response:
    """Dream whole episodes of one policy or many; no session moves."""
    body = await read(request, schemas.Rollout)
    return await answer_rows(request, await ask(request, body.to_engine()))


@router.post(
    "/plan",
    tags=["dreams"],
    **operation(
        answers.PlanAnswer,
        schemas.Plan,
        errors=(*_BODY, *_SESSION, StepConflictError, *_COMPUTED),
        more_problems=_MEDIA,
        of_session=True,
    ),
)
async def plan(request: Request) -> Response:
    """Look for the best actions from a session's present; the session does not move."""
    body = await read(request, schemas.Plan)
    return answer(request, await ask(request, body.to_engine()))


@router.post(
    "/sessions/{session_id}/fork",
    tags=["sessions"],
    **operation(
        answers.ForkAnswer,
        schemas.Fork,
        errors=(*_BODY, *_SESSION, OverloadedError, EngineFailedError, DrainingError),
        more_problems=_MEDIA,
        of_session=True,
    ),
)
async def fork(request: Request, session_id: str) -> Response:
    """Let a dream go on in more than one way: new sessions that are where it is."""
    _check_path(request, session_id)
    body = await read(request, schemas.Fork)
    await refuse_new_sessions(request, None)
    return answer(request, await ask(request, body.to_engine(session_id)))


@router.post(
    "/sessions/{session_id}/rewind",
    tags=["sessions"],
    **operation(
        answers.RewindAnswer,
        schemas.Rewind,
        errors=(*_BODY, *_SESSION, StepConflictError, *_COMPUTED),
        more_problems=_MEDIA,
        of_session=True,
    ),
)
async def rewind(request: Request, session_id: str) -> Response:
    """Go back to an earlier step of the session's window, as if none had followed."""
    _check_path(request, session_id)
    body = await read(request, schemas.Rewind)
    return answer(request, await ask(request, body.to_engine(session_id)))


@router.get(
    "/sessions/{session_id}/snapshot",
    tags=["sessions"],
    **operation(answers.SnapshotAnswer, errors=(InvalidRequestError, *_SESSION), of_session=True),
)
async def snapshot(request: Request, session_id: str) -> Response:
    """Tell all that a session is, for any server with the same bundle."""
    _check_path(request, session_id)
    return answer(request, await ask(request, SnapshotRequest(session_id)))


@router.put(
    "/sessions/{session_id}/snapshot",
    tags=["sessions"],
    **operation(
        answers.SessionAnswer,
        schemas.Snapshot,
        errors=(
            *(*_BODY, InvalidActionError, WorldNotFoundError),
            *(SnapshotRefusedError, OverloadedError, EngineFailedError, DrainingError),
        ),
        more_problems=_MEDIA,
        of_session=True,
    ),
)
async def restore(request: Request, session_id: str) -> Response:
    """Make a session what a snapshot says; the one of that id starts over."""
    _check_path(request, session_id)
    schemas.check_session_id(session_id)
    body = await read(request, schemas.Snapshot)
    await refuse_new_sessions(request, session_id)
    return answer(request, await ask(request, RestoreRequest(session_id, body.to_engine())))


@router.get(
    "/sessions/{session_id}",
    tags=["sessions"],
    **operation(answers.SessionAnswer, errors=(InvalidRequestError, *_SESSION), of_session=True),
)
async def session(request: Request, session_id: str) -> Response:
    """Tell what a session is."""
    _check_path(request, session_id)
    return answer(request, await ask(request, SessionQuery(session_id)))


@router.delete(
    "/sessions/{session_id}",
    tags=["sessions"],
    **operation(errors=(InvalidRequestError, *_SESSION), of_session=True),
)
async def delete_session(request: Request, session_id: str) -> Response:
    """End a session and free its place."""
    _check_path(request, session_id)
    await ask(request, SessionQuery(session_id, delete=True))
    return Response(status_code=204)


def _check_path(request: Request, session_id: str) -> None:
    require_same_session(header(request, b"x-session-id"), session_id)
    if len(session_id) > schemas.SESSION_ID_LENGTH:
        longest = schemas.SESSION_ID_LENGTH
        raise SessionNotFoundError(f"no such session: an id has at most {longest} characters")


@router.get("/worlds", tags=["worlds"], **operation(answers.WorldsAnswer))
async def worlds(request: Request) -> Response:
    """List the worlds that are loaded; the first is the default."""
    loaded = Service.of(request).engine.worlds.values()
    return answer(request, {"worlds": [_summary(world) for world in loaded]})


@router.get(
    "/worlds/{name}",
    tags=["worlds"],
    **operation(answers.WorldAnswer, errors=(WorldNotFoundError,)),
)
async def world(request: Request, name: str) -> Response:
    """Tell all there is to know of a world: its manifest, how good it is, its actions' names."""
    loaded = Service.of(request).engine.worlds
    if name not in loaded:
        raise WorldNotFoundError(f"no world {name[:80]!r}; loaded: {', '.join(loaded)}")
    found = loaded[name]
    manifest = (found.manifest or found.spec).model_dump(mode="json")
    return answer(request, {**_summary(found), "manifest": manifest})


def _summary(world: World) -> dict[str, Any]:
    spec = world.spec
    return {
        "name": spec.name,
        "version": world.manifest and world.manifest.version,
        "backend": world.backend.name,
        "action_space": spec.action_space.model_dump(mode="json"),
        "action_names": list(spec.action_space.names),
        "latent_size": spec.latent_size,
        "frame_shape": list(spec.frame.shape),
        "quality": world.manifest.quality if world.manifest else {},
    }


@router.get("/livez", tags=["health"], **operation(answers.Health))
async def livez(request: Request) -> Response:
    """Answer while the process lives."""
    return answer(request, {"status": "live"})


@router.get(
    "/readyz",
    tags=["health"],
    **operation(answers.Health, more_problems={503: ["not_ready", "draining"]}),
)
async def readyz(request: Request) -> Response:
    """Answer 200 while new sessions are welcome: after warming up, and until shutting down."""
    service, request_id = Service.of(request), request.state.request_id
    if service.draining:
        return problem(503, "draining", "the server is shutting down", request_id)
    if not service.engine.ready:
        return problem(
            503, "not_ready", "the engine is not running: it warms up, or failed", request_id
        )
    return answer(request, {"status": "ready"})


@router.get("/", tags=["health"], **operation(answers.Index))
async def index(request: Request) -> Response:
    """Tell where things are."""
    places = {"docs": "/docs", "openapi": "/openapi.json", "worlds": "/worlds", "ready": "/readyz"}
    return answer(request, {"name": "dreamserve", "version": __version__, **places})
