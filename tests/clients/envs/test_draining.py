"""Environments leave a server that takes no new sessions, at any reset."""

from typing import Any

import pytest

import dreamserve_client as sdk
import dreamserve_client.envs as envs
from dreamserve.engine.fake import fake_world


class Replicas(sdk.InProcess):
    """Servers behind a load balancer; those whose routes are `draining` begin no sessions."""

    def __init__(self) -> None:
        super().__init__(fake_world())
        self.draining: set[str] = set()
        self.last = ""

    def send(self, call: Any, timeout_s: float) -> Any:
        if call.verb.name in ("reset", "reset_batch"):
            self.last = sdk.route_of(call.routed_by)
            if not self.draining:
                self.draining.add(self.last)
            if self.last in self.draining:
                raise sdk.DrainingError("no new sessions")
        return super().send(call, timeout_s)


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("kind", [envs.DreamEnv, envs.DreamVectorEnv])
def test_a_reset_leaves_a_draining_server_and_the_steps_follow(kind):
    replicas = Replicas()
    client = sdk.DreamClient(transport=replicas)
    env = kind(client=client)
    action = 1 if kind is envs.DreamEnv else [1]
    env.reset(seed=1)
    env.step(action)
    first = replicas.last
    env.reset(seed=2)
    assert replicas.last == first  # its sessions are there
    replicas.draining.add(first)
    env.reset(seed=3)
    env.step(action)
    assert replicas.last not in replicas.draining
    assert len(client.sessions().sessions) == 2  # one ends with the first server
    env.close()
    assert len(client.sessions().sessions) == 1
