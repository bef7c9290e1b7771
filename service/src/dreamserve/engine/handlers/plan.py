"""/plan: search for the best actions from a session's current state."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import Array
from dreamserve.engine.checks import check_latent, check_observation
from dreamserve.engine.dynamics import Work
from dreamserve.engine.handlers.base import Context, seed_of, start_of
from dreamserve.engine.imagination.plans import plan as planned
from dreamserve.engine.imagination.sizes import plan_size
from dreamserve.engine.imagination.trajectories import RolloutStart
from dreamserve.engine.pixels import to_input, to_numbers
from dreamserve.planning.base import action_durations
from dreamserve.planning.catalog import options_of
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.plan import Objective, PlanRequest, PlanResult


def plan(context: Context, request: PlanRequest) -> Work[PlanResult]:
    """Search, and store the plan as the warm start of the session's next one.

    Raises CallerError, DreamNotFiniteError.
    """
    options: Any = options_of(
        request.planner, request.options, request.candidates, request.iterations
    )
    length = {"horizon": request.horizon, "action_repeat": request.action_repeat}
    context.limits.check_dreamt_steps(
        candidates=options.candidates,
        iterations=options.iterations,
        particles=request.particles,
        **({"steps": request.steps} if request.policy_steps else length),
    )
    context.limits.check_plan_steps(request.horizon, request.action_repeat, request.policy_steps)
    context.limits.check_rows(options.candidates * request.particles, "candidates x particles")
    session = context.find_alive(request.session_id)
    size = plan_size(session.world.spec, request, options)
    context.limits.check_job_bytes(size.memory_bytes, "candidates x horizon x particles")
    start = start_of(session, request.temperature)
    objective = _checked(start, request.objective)
    seed = seed_of(session, request.seed, noise.PLAN)
    durations = action_durations(start.step, request.horizon, request.action_repeat)
    begins = np.cumsum(durations) - durations  # (H,) the steps after which the actions begin
    is_warm = request.warm_start and request.policy is None
    warm = session.remaining_plan(begins) if is_warm else None
    dream = session.dream
    latency, began_s = context.latencies[start.world], context.clock()
    with nullcontext() if request.budget_ms is None else latency.counted():
        yield size  # concurrent plans are counted by now
        found = yield from planned(
            start,
            replace(request, objective=objective),
            options,
            seed,
            warm,
            context.slice_rows,
            latency,
            began_s,
            context.clock,
        )
    # For the session's next plan, if the session still exists with the same dream.
    if context.sessions.is_current(session) and session.dream == dream:
        session.keep_plan(start.step, found.actions, request.action_repeat)
    return found


def _checked(start: RolloutStart, objective: Objective | None) -> Objective | None:
    """Return the objective with its target as a latent (Z,) float32. Raises CallerError."""
    if objective is None:
        return None
    world = start.world
    names = [signal.name for signal in world.spec.signals]
    if unknown := sorted(set(objective.signals or ()) - set(names)):
        raise InvalidRequestError(
            f"objective.signals: {world.name} has no {unknown[0][:80]!r}; its signals: {names}"
        )
    if objective.target_vector is not None:
        target = _encoded(start, "vector", objective.target_vector, "objective.target_vector")
    elif objective.target is None:
        return objective
    elif np.asarray(objective.target).dtype == np.uint8:
        target = _encoded(start, "frame", objective.target, "objective.target")
    else:
        target = check_latent(world, objective.target, "objective.target")
    return replace(objective, target=target, target_vector=None)


def _encoded(start: RolloutStart, field: str, seen: Any, name: str) -> Array:
    """Return the latent (Z,) of an observation, by the session's memory if `encode` takes one."""
    world, spec = start.world, start.world.spec
    shown = to_input(spec.observation, check_observation(world, field, seen, name))
    memory = start.state if spec.encode_memory else ()
    posterior = world.backend.encode(to_numbers(spec.observation, shown), memory)
    latent: Array = spec.head.mode(posterior)[0]
    return latent
