"""Plans on a torch device: they keep their budgets, and end where none can be better."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dreamserve.backends.fake import fake_spec
from dreamserve.backends.torch import TorchBackend
from dreamserve.backends.torch_device import TorchDeviceBackend
from dreamserve.engine.world import World
from dreamserve.heads import Deterministic
from dreamserve.local import LocalClient
from dreamserve.manifest import NoiseSpec, RewardRule, TensorSpec


class Clock:
    """A clock that each step of a world advances."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def dreaming(backend: type[TorchBackend], rule: RewardRule, step_s: float = 0.0) -> Any:
    """Return a client with a session "a" in a world whose steps take `step_s`, and its clock."""
    clock = Clock()
    spec = fake_spec(
        reward=rule,
        head=Deterministic(),
        noise=NoiseSpec(normal=0, uniform=0),
        recurrent_state=(TensorSpec(name="m", shape=(1,)),),
    )

    def step(latent: Tensor, action: Tensor, m: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        clock.now_s += step_s
        following = 0.9 * latent + 0.01 * action[:, None]
        never = torch.full((len(latent),), -5.0)
        reward = torch.ones(len(latent)) if rule.kind == "constant" else following[:, 0]
        return following, reward, never, m + 1, following.clone()

    graphs: dict[str, Callable[..., Any]] = {
        "step": step,
        "encode": lambda frames: (torch.zeros(len(frames), 4),),
        "decode": lambda latent: torch.zeros(len(latent), 8, 8, 3),
    }
    client = LocalClient(World(spec, backend(spec, graphs)), clock=clock)
    client.reset(session_id="a", seed=1)
    return client, clock


@pytest.mark.parametrize("discount", [0.99, 0.95, 1.0])
@pytest.mark.parametrize("horizon", [8, 15, 20, 30])
@pytest.mark.parametrize("backend", [TorchBackend, TorchDeviceBackend])
def test_a_search_ends_with_the_first_plan_that_none_can_be_better_than(
    backend: type[TorchBackend], horizon: int, discount: float
) -> None:
    client, _ = dreaming(backend, RewardRule(kind="constant", value=1.0))
    fields = {"session_id": "a", "horizon": horizon, "candidates": 16, "discount": discount}
    first = client.plan(**fields, iterations=5)
    assert first.iterations == 1
    client.step("a", first.action)
    assert client.plan(**fields, iterations=5).evaluations == 1


def test_a_budget_is_kept_on_a_device_and_its_plans_learn_from_it() -> None:
    client, clock = dreaming(TorchDeviceBackend, RewardRule(kind="head"), step_s=20e-3)
    took_s, plans = [], []
    for _ in range(12):
        began_s = clock.now_s
        plans.append(client.plan("a", horizon=10, iterations=7, budget_ms=1000))
        took_s.append(clock.now_s - began_s)
    one_evaluation_s = 10 * 20e-3
    assert max(took_s) < 1 + one_evaluation_s
    assert all(plan.cut_short for plan in plans)
    assert took_s[-1] <= 1


def test_a_budget_is_kept_between_the_calls_of_one_evaluation() -> None:
    client, clock = dreaming(TorchDeviceBackend, RewardRule(kind="head"), step_s=0.1)
    plan = client.plan(
        "a", planner="random_shooting", horizon=10, candidates=30_000, budget_ms=2200
    )
    assert clock.now_s < 2.2 + 10 * 0.1
    assert (plan.cut_short, plan.evaluations) == (True, 3 * 4096)
