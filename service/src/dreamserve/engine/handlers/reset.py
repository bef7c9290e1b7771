"""/reset: start a session's dream, or start it over."""

from typing import Any

import numpy as np

from dreamserve.engine.checks import check_start
from dreamserve.engine.dynamics import Work, start
from dreamserve.engine.handlers.base import Context, random_seed, temperature_of
from dreamserve.engine.shown import check_shown, shown
from dreamserve_protocol.ids import new_id
from dreamserve_protocol.reset import ResetRequest, ResetResult


def reset(context: Context, request: ResetRequest) -> Work[ResetResult]:
    """Start the dream. Raises CallerError, DreamNotFiniteError, DrainingError."""
    session_id = request.session_id or new_id()
    context.sessions.check_admission(session_id)
    context.limits.check_rewind_window(request.rewind_window)
    world, window = context.world(request.world), request.rewind_window
    seed = random_seed() if request.seed is None else request.seed
    temperature = temperature_of(request.temperature)
    begin = check_start(world, request.start, context.limits)
    check_shown(world, request.include)
    context.sessions.check_room(world, session_id, window=window)
    latent, state = yield from start(world, begin, seed, temperature)
    decoded: Any = shown(world, latent, request.include)
    session = context.sessions.create(session_id, world, window)
    session.begin(latent, state, seed, temperature, request.max_steps)
    named = world.spec.named_state(np.array(part[0]) for part in state)
    return ResetResult(
        session_id=session_id,
        world=world.name,
        step=0,
        latent=latent[0],
        seed=seed,
        temperature=temperature,
        state=named if "state" in request.include else None,
        **decoded,
    )
