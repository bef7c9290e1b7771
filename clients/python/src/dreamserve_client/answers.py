"""Read the server's answers into values. Fields that this version does not know are left aside,
so that an older client can talk to a newer server.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamserve_client.errors import APIStatusError, error_class
from dreamserve_client.types import (
    Bool,
    Components,
    Float32,
    Float64,
    Fork,
    Int64,
    Mixture,
    MostLikely,
    Plan,
    Reset,
    ResetBatch,
    Rewind,
    Rollout,
    RolloutStatistics,
    Sample,
    SessionInfo,
    Snapshot,
    Step,
    StepBatch,
    UInt8,
    World,
)

Answer = Mapping[str, Any]


def read_reset(answer: Answer) -> Reset:
    """Read what /reset answers."""
    return Reset(
        session_id=answer["session_id"],
        world=answer["world"],
        step=answer["step"],
        latent=_floats(answer["latent"]),
        seed=answer["seed"],
        temperature=answer["temperature"],
        frame=_frames(answer.get("frame")),
        state=_state(answer.get("state")),
    )


def read_step(answer: Answer) -> Step:
    """Read what /step answers."""
    return Step(
        session_id=answer["session_id"],
        step=answer["step"],
        latent=_floats(answer["latent"]),
        reward=answer["reward"],
        terminated=answer["terminated"],
        truncated=answer["truncated"],
        info=answer["info"],
        frame=_frames(answer.get("frame")),
        mixture=_mixture(answer.get("mixture")),
        state=_state(answer.get("state")),
    )


def read_reset_batch(answer: Answer) -> ResetBatch:
    """Read what /reset/batch answers."""
    return ResetBatch(
        world=answer["world"],
        session_ids=tuple(answer["session_ids"]),
        latents=_floats(answer["latents"]),
        seeds=_integers(answer["seeds"]),
        temperatures=_floats(answer["temperatures"]),
        errors=_errors(answer),
    )


def read_step_batch(answer: Answer) -> StepBatch:
    """Read what /step/batch answers."""
    return StepBatch(
        session_ids=tuple(answer["session_ids"]),
        steps=_integers(answer["steps"]),
        latents=_floats(answer["latents"]),
        rewards=_floats(answer["rewards"]),
        terminated=_truths(answer["terminated"]),
        truncated=_truths(answer["truncated"]),
        errors=_errors(answer),
    )


def read_sample(answer: Answer) -> Sample:
    """Read what /sample answers."""
    return Sample(
        latents=_floats(answer["latents"]),
        rewards=_floats(answer["rewards"]),
        terminated=_truths(answer["terminated"]),
        frames=_frames(answer.get("frames")),
        mixture=_mixture(answer.get("mixture")),
        entropy=_optional_floats(answer.get("entropy")),
        differential_entropy=_optional_floats(answer.get("differential_entropy")),
        most_likely=_most_likely(answer.get("most_likely")),
        components=_components(answer.get("components")),
    )


def read_rollout(answer: Answer) -> Rollout:
    """Read what /rollout answers; a Discrete world's actions are integers."""
    told, latents, rewards = answer["statistics"], answer.get("latents"), answer.get("rewards")
    return Rollout(
        world=answer["world"],
        seeds=_integers(answer["seeds"]),
        temperature=answer["temperature"],
        returns=_doubles(answer["returns"]),
        lengths=_integers(answer["lengths"]),
        terminated=_truths(answer["terminated"]),
        finite=_truths(answer["finite"]),
        statistics=RolloutStatistics(
            episodes=_integers(told["episodes"]),
            mean_return=_doubles(told["mean_return"]),
            std_return=_doubles(told["std_return"]),
            min_return=_doubles(told["min_return"]),
            max_return=_doubles(told["max_return"]),
            mean_length=_doubles(told["mean_length"]),
            std_length=_doubles(told["std_length"]),
            share_terminated=_doubles(told["share_terminated"]),
        ),
        latents=None if latents is None else _floats(latents),
        actions=_episode_actions(answer.get("actions")),
        rewards=None if rewards is None else _floats(rewards),
    )


def _episode_actions(value: Any) -> Int64 | Float32 | None:
    if value is None:
        return None
    actions = np.array(value)
    return _integers(value) if actions.ndim == 3 else _floats(value)


def _doubles(value: Any) -> Float64:
    return np.array(value, np.float64)  # of None: NaN


def read_plan(answer: Answer) -> Plan:
    """Read what /plan answers; a Discrete world's actions are integers."""
    discrete = isinstance(answer["action"], int)
    return Plan(
        action=answer["action"] if discrete else _floats(answer["action"]),
        actions=np.array(answer["actions"], np.int64 if discrete else np.float32),
        value=answer["value"],
        planner=answer["planner"],
        iterations=answer["iterations"],
        evaluations=answer["evaluations"],
        elapsed_ms=answer["elapsed_ms"],
        cut_short=answer["cut_short"],
    )


def read_fork(answer: Answer) -> Fork:
    """Read what POST /sessions/{id}/fork answers."""
    return Fork(
        session_id=answer["session_id"],
        world=answer["world"],
        step=answer["step"],
        latent=_floats(answer["latent"]),
        session_ids=tuple(answer["session_ids"]),
        seeds=tuple(answer["seeds"]),
    )


def read_rewind(answer: Answer) -> Rewind:
    """Read what POST /sessions/{id}/rewind answers."""
    return Rewind(
        session_id=answer["session_id"],
        step=answer["step"],
        latent=_floats(answer["latent"]),
        terminated=answer["terminated"],
        rewindable_to=answer["rewindable_to"],
    )


def read_snapshot(answer: Answer) -> Snapshot:
    """Read what GET /sessions/{id}/snapshot answers: all of it, as it is."""
    return {name: value for name, value in answer.items() if name != "request_id"}


def read_session(answer: Answer) -> SessionInfo:
    """Read what GET /sessions/{id} answers."""
    return SessionInfo(
        session_id=answer["session_id"],
        world=answer["world"],
        step=answer["step"],
        seed=answer["seed"],
        temperature=answer["temperature"],
        terminated=answer["terminated"],
        idle_s=answer["idle_s"],
        rewindable_to=answer["rewindable_to"],
    )


def read_nothing(answer: Answer) -> None:
    """Read an answer whose content does not matter."""


def read_worlds(answer: Answer) -> tuple[World, ...]:
    """Read what GET /worlds answers."""
    return tuple(read_world(world) for world in answer["worlds"])


def read_world(answer: Answer) -> World:
    """Read what GET /worlds/{name} answers, or one entry of GET /worlds."""
    return World(
        name=answer["name"],
        version=answer["version"],
        backend=answer["backend"],
        action_space=answer["action_space"],
        action_names=tuple(answer["action_names"]),
        latent_size=answer["latent_size"],
        frame_shape=tuple(answer["frame_shape"]),
        quality=answer["quality"],
        manifest=answer.get("manifest", {}),
    )


def _floats(value: Any) -> Float32:
    return np.array(value, np.float32)


def _optional_floats(value: Any) -> Float32 | None:
    return None if value is None else _floats(value)


def _integers(value: Any) -> Int64:
    return np.array(value, np.int64)


def _truths(value: Any) -> Bool:
    return np.array(value, np.bool_)


def _errors(answer: Answer) -> dict[int, APIStatusError]:
    """Return the errors of a batch's rows, by row."""
    return {
        error["row"]: error_class(error["code"], error["status"])(
            error["detail"],
            code=error["code"],
            status=error["status"],
            request_id=answer.get("request_id"),
        )
        for error in answer["errors"]
    }


def _frames(value: Any) -> UInt8 | None:
    return None if value is None else np.array(value, np.uint8)


def _state(value: Mapping[str, Any] | None) -> dict[str, Float32] | None:
    return None if value is None else {name: _floats(tensor) for name, tensor in value.items()}


def _mixture(value: Mapping[str, Any] | None) -> Mixture | None:
    if value is None:
        return None
    return Mixture(_floats(value["weights"]), _floats(value["mu"]), _floats(value["sigma"]))


def _most_likely(value: Answer | None) -> MostLikely | None:
    if value is None:
        return None
    return MostLikely(
        latents=_floats(value["latents"]),
        rewards=_floats(value["rewards"]),
        terminated=_truths(value["terminated"]),
        frames=_frames(value.get("frames")),
    )


def _components(value: Answer | None) -> Components | None:
    if value is None:
        return None
    return Components(
        weights=_floats(value["weights"]),
        order=_integers(value["order"]),
        latents=_floats(value["latents"]),
        rewards=_floats(value["rewards"]),
        terminated=_truths(value["terminated"]),
        frames=_frames(value.get("frames")),
    )
