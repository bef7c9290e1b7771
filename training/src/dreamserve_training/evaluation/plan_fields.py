"""Fields of /plan, held to a world before it is trained."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from dreamserve.backends.base import Array, State, StepInput, StepOutput, head_arrays
from dreamserve.engine.world import World
from dreamserve.local import LocalClient
from dreamserve.manifest import WorldSpec
from dreamserve.manifest_parts import GraphName
from dreamserve.validation import validated
from dreamserve_protocol.plan import PlanRequest


def check_plan_fields(spec: WorldSpec, fields: Mapping[str, Any]) -> None:
    """Raise CallerError for what /plan refuses in a world of `spec`, whatever it predicts."""
    client = LocalClient(World(spec, _Blank(spec)), capacity=1)
    session = client.reset(seed=0).session_id
    request = validated(PlanRequest, {"session_id": session, **fields})
    with suppress(TimeoutError):  # its sizes are accepted, and its search would take long
        client.send(request, timeout_s=0)
    short = replace(  # for what only the search reads, such as a policy
        request,
        horizon=1,
        iterations=1,
        action_repeat=1,
        policy_steps=min(1, request.policy_steps),
        budget_ms=None,
    )
    client.send(short)


class _Blank:
    """A backend without models: every output is 0."""

    name = "blank"

    def __init__(self, spec: WorldSpec) -> None:
        self._spec, self._shapes = spec, spec.graph_outputs()

    def encode(self, observations: Array, state: State = ()) -> tuple[Array, ...]:
        return tuple(self._zeros("encode", len(observations)))

    def step(self, batch: StepInput) -> StepOutput:
        arrays = self._zeros("step", len(batch.latent))
        return StepOutput.of(arrays, len(batch.state), head_arrays(self._spec))

    def decode(self, latent: Array) -> Array:
        return self._zeros("decode", len(latent))[0]

    def policy(self, latent: Array, state: State) -> Array:
        return self._zeros("policy", len(latent))[0]

    def _zeros(self, graph: GraphName, rows: int) -> list[Array]:
        return [np.zeros((rows, *shape), np.float32) for shape in self._shapes[graph].values()]
