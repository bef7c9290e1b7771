"""Every call of the API as a pure value: what to send, and how to read the answer.

Both clients take their methods from here, so a signature is written once. Nothing here does I/O.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from dreamserve_client import answers
from dreamserve_client.types import (
    Action,
    Fork,
    Numbers,
    Plan,
    Policy,
    Reset,
    ResetBatch,
    ResetInclude,
    Rewind,
    Rollout,
    RolloutInclude,
    Sample,
    SampleInclude,
    SessionInfo,
    Snapshot,
    Start,
    Step,
    StepBatch,
    StepInclude,
    World,
)

T = TypeVar("T")
SESSION_ID_BYTES = 16  # 128 random bits: ids that clients choose themselves must not meet


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request. `idempotent`: sending it twice leaves the server as sending it once does."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    read: Callable[[Mapping[str, Any]], T]
    fields: Mapping[str, Any] | None = None
    session_id: str | None = None
    idempotent: bool = True

    def numbered(self, **numbers: int | list[int]) -> "Call[T]":
        """Return this call with the `step` or `steps` that it leads to: safe to send twice."""
        return replace(self, fields={**(self.fields or {}), **numbers}, idempotent=True)


def reset(
    world: str | None = None,
    *,
    session_id: str | None = None,
    seed: int | None = None,
    temperature: float | None = None,
    start: Start | None = None,
    rewind_window: int | None = None,
    include: Iterable[ResetInclude] = (),
) -> Call[Reset]:
    """Begin a dream and return it at its step 0.

    What is left out, the server chooses and says. With the `session_id` of a live session, that
    session starts over; without one, a new id of 128 random bits is chosen here, so that the
    request already lands on the replica that will serve the rest. `rewind_window`: the steps that
    it can be rewound by.
    """
    session_id = session_id or token_hex(SESSION_ID_BYTES)
    fields = {
        "world": world,
        "session_id": session_id,
        "seed": seed,
        "temperature": temperature,
        "start": start,
        "rewind_window": rewind_window,
        "include": _listed(include),
    }
    return Call("POST", "/reset", answers.read_reset, fields, session_id)


def step(
    session_id: str,
    action: Action,
    *,
    step: int | None = None,
    observation: Numbers | None = None,
    include: Iterable[StepInclude] = (),
) -> Call[Step]:
    """Advance a dream by one action: an int in a Discrete world, (A,) floats in a Box world.

    `step` is the number this step will have. Leave it out: the client counts, so that a step whose
    answer was lost is sent again and taken once. `observation` is the real next frame (uint8) or
    latent (float32); the dream is corrected to it. Steps of one session come one after the other.
    """
    fields = {
        "session_id": session_id,
        "action": action,
        "step": step,
        "observation": observation,
        "include": _listed(include),
    }
    return Call("POST", "/step", answers.read_step, fields, session_id, step is not None)


def reset_batch(
    count: int | None = None,
    *,
    world: str | None = None,
    session_ids: Iterable[str] | None = None,
    seeds: Numbers | None = None,
    temperatures: Numbers | None = None,
    bank: Numbers | None = None,
    latents: Numbers | None = None,
    rewind_window: int | None = None,
) -> Call[ResetBatch]:
    """Begin `count` dreams in one world, or those of `session_ids`, and return them at step 0.

    The rest are columns of B rows: `seeds` and `bank` (B,) integers, `temperatures` (B,) floats,
    `latents` (B, Z) floats, instead of `bank`. What is left out, the server chooses and says; new
    ids are chosen here, as in `reset`. A row that fails is in `errors` and harms no other.
    """
    fields = {
        "world": world,
        "session_ids": _ids_of(count, session_ids),
        "seeds": seeds,
        "temperatures": temperatures,
        "bank": bank,
        "latents": latents,
        "rewind_window": rewind_window,
    }
    return Call("POST", "/reset/batch", answers.read_reset_batch, fields)


def step_batch(
    session_ids: Iterable[str], actions: Numbers, *, steps: Numbers | None = None
) -> Call[StepBatch]:
    """Advance B dreams of one world, each by one action: (B,) integers, or (B, A) floats in a Box.

    `steps` (B,) integers are the numbers that the steps will have. Leave them out: the client
    counts, as in `step`, where it has seen all of these sessions and none has ended. A row that
    fails is in `errors`, leaves its session where it was and harms no other.
    """
    fields = {"session_ids": _listed_ids(session_ids), "actions": actions, "steps": steps}
    read = answers.read_step_batch
    return Call("POST", "/step/batch", read, fields, idempotent=steps is not None)


def sample(
    session_id: str | None = None,
    *,
    futures: int,
    horizon: int,
    world: str | None = None,
    start: Start | None = None,
    actions: Numbers | None = None,
    policy: Policy | None = None,
    temperature: float | None = None,
    seed: int | None = None,
    include: Iterable[SampleInclude] = (),
) -> Call[Sample]:
    """Dream `futures` futures of `horizon` steps from a session's present, which does not move.

    Or, without a session, from `start` in `world`. `actions` (H, ...) are taken in all of them;
    without, a `policy` acts in each, as in `rollout`: one, by default "random". `include` may ask
    for "frames", for what was expected ("mixture") and how surely ("entropy", which is two), for
    the one future without luck ("most_likely"), and for one of each component of the first step
    ("components").
    """
    fields = {
        "session_id": session_id,
        "world": world,
        "start": start,
        "futures": futures,
        "horizon": horizon,
        "actions": actions,
        "policy": policy,
        "temperature": temperature,
        "seed": seed,
        "include": _listed(include),
    }
    return Call("POST", "/sample", answers.read_sample, fields, session_id)


def rollout(
    session_id: str | None = None,
    *,
    policy: Policy,
    max_steps: int,
    episodes: int | None = None,
    seeds: Numbers | None = None,
    seed: int | None = None,
    world: str | None = None,
    start: Start | None = None,
    temperature: float | None = None,
    include: Iterable[RolloutInclude] = (),
) -> Call[Rollout]:
    """Dream `episodes` whole episodes of a policy, or of each of P linear ones; no session moves.

    `policy` is "random", "bundled", {"kind": "constant", "action": ...}, or {"kind": "linear",
    "weights": (P, A, F), "bias": (P, A), "inputs": [...]}. Episode e of every policy has the same
    seed, of `seeds` (E,), or following from `seed`. They begin at a session's present, or else at
    `start` in `world`, and are cut off after `max_steps`. `include` "trajectories" for all latents,
    actions and rewards.
    """
    fields = {
        "session_id": session_id,
        "policy": policy,
        "max_steps": max_steps,
        "episodes": episodes,
        "seeds": seeds,
        "seed": seed,
        "world": world,
        "start": start,
        "temperature": temperature,
        "include": _listed(include),
    }
    return Call("POST", "/rollout", answers.read_rollout, fields, session_id)


def plan(
    session_id: str,
    *,
    planner: str | None = None,
    horizon: int | None = None,
    candidates: int | None = None,
    iterations: int | None = None,
    options: Mapping[str, float] | None = None,
    discount: float | None = None,
    particles: int | None = None,
    action_repeat: int | None = None,
    objective: Mapping[str, Any] | None = None,
    temperature: float | None = None,
    warm_start: bool | None = None,
    budget_ms: float | None = None,
    seed: int | None = None,
) -> Call[Plan]:
    """Look for the best action sequence from a session's present, which does not move.

    `planner` is "random_shooting", "cem", "icem" or "mppi", with its own `options`. `objective`
    weighs "reward", "survival" and, with "target_weight", the distance from a "target" latent. By
    `budget_ms` the best so far is answered. What is left out has the server's default.
    """
    fields = {
        "session_id": session_id,
        "planner": planner,
        "horizon": horizon,
        "candidates": candidates,
        "iterations": iterations,
        "options": options,
        "discount": discount,
        "particles": particles,
        "action_repeat": action_repeat,
        "objective": objective,
        "temperature": temperature,
        "warm_start": warm_start,
        "budget_ms": budget_ms,
        "seed": seed,
    }
    return Call("POST", "/plan", answers.read_plan, fields, session_id)


def fork(
    session_id: str,
    count: int | None = None,
    *,
    session_ids: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
) -> Call[Fork]:
    """Make `count` new sessions, or those of `session_ids`, that are where this one is.

    Without `seeds`, one each, they have its luck: the same actions dream the same dream.
    """
    if count is None and session_ids is None:
        count = 1
    fields = {
        "session_ids": _ids_of(count, session_ids),
        "seeds": None if seeds is None else list(seeds),
    }
    path = f"{_session_path(session_id)}/fork"
    return Call("POST", path, answers.read_fork, fields, session_id)


def rewind(session_id: str, to_step: int) -> Call[Rewind]:
    """Go back to an earlier step, as if none had followed; the session must keep a window."""
    path = f"{_session_path(session_id)}/rewind"
    return Call("POST", path, answers.read_rewind, {"to_step": to_step}, session_id)


def snapshot(session_id: str) -> Call[Snapshot]:
    """Return all that a session is, for any server with the same bundle."""
    path = f"{_session_path(session_id)}/snapshot"
    return Call("GET", path, answers.read_snapshot, session_id=session_id)


def restore(snapshot: Snapshot, session_id: str | None = None) -> Call[SessionInfo]:
    """Make a session what a snapshot says: a new one, or in place of the one of that id."""
    session_id = session_id or token_hex(SESSION_ID_BYTES)
    path = f"{_session_path(session_id)}/snapshot"
    return Call("PUT", path, answers.read_session, snapshot, session_id)


def session(session_id: str) -> Call[SessionInfo]:
    """Return what a session is."""
    return Call("GET", _session_path(session_id), answers.read_session, session_id=session_id)


def delete(session_id: str) -> Call[None]:
    """End a session; its slot is free at once."""
    return Call("DELETE", _session_path(session_id), answers.read_nothing, session_id=session_id)


def worlds() -> Call[tuple[World, ...]]:
    """Return the worlds that the server hosts."""
    return Call("GET", "/worlds", answers.read_worlds)


def world(name: str) -> Call[World]:
    """Return one world with its manifest and quality."""
    return Call("GET", f"/worlds/{quote(name, safe='')}", answers.read_world)


def _session_path(session_id: str) -> str:
    return f"/sessions/{quote(session_id, safe='')}"


def _ids_of(count: int | None, session_ids: Iterable[str] | None) -> list[str]:
    if (count is None) == (session_ids is None):
        raise ValueError("give count or session_ids, one of them")
    if session_ids is not None:
        return _listed_ids(session_ids)
    return [token_hex(SESSION_ID_BYTES) for _ in range(count or 0)]


def _listed_ids(session_ids: Iterable[str]) -> list[str]:
    if isinstance(session_ids, str):
        raise TypeError(f"session_ids is a list of ids, not the string {session_ids!r}")
    return list(session_ids)


def _listed(include: Iterable[str]) -> list[str] | None:
    if isinstance(include, str):
        raise TypeError(f"include is a list of names, not the string {include!r}")
    return sorted(include) or None
