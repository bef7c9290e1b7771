"""The spec of a world that consists of V and a memory model."""

from dreamserve.manifest import DoneRule, RewardRule, WorldSpec
from dreamserve.observations import ObservationSpec
from dreamserve.spaces import ActionSpace
from dreamserve_training.envs import EnvSpec
from dreamserve_training.models.mixture import TemperatureRule
from dreamserve_training.models.world_model import WorldModel

DONE_ABOVE_0 = DoneRule()


def world_spec(
    name: str,
    env: EnvSpec,
    memory: WorldModel,
    *,
    temperature_rule: TemperatureRule = "paper",
    done: DoneRule = DONE_ABOVE_0,
    constant_reward: float | None = None,
) -> WorldSpec:
    """Return the spec of the world `name`, learned from `env`.

    `constant_reward` is the reward of every step, for a model without a reward head.
    """
    return spec_of(
        name,
        env.action_space,
        env.observation,
        memory,
        temperature_rule=temperature_rule,
        done=done,
        constant_reward=constant_reward,
    )


def spec_of(
    name: str,
    action_space: ActionSpace,
    observation: ObservationSpec,
    memory: WorldModel,
    *,
    temperature_rule: TemperatureRule = "paper",
    done: DoneRule = DONE_ABOVE_0,
    constant_reward: float | None = None,
) -> WorldSpec:
    """Return the spec for any actions and observations; other fields come from `memory`."""
    if constant_reward is None:
        reward = RewardRule(kind="head")
    else:
        reward = RewardRule(kind="constant", value=constant_reward)
    return WorldSpec(
        name=name,
        action_space=action_space,
        observation=observation,
        **memory.spec()._asdict(),
        temperature_rule=temperature_rule,
        done=done,
        reward=reward,
    )
