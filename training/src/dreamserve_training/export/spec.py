"""The spec of a world that consists of a ConvVAE and a memory model."""

from dreamserve.manifest import DoneRule, RewardRule, WorldSpec
from dreamserve.observations import Crop, FrameSpec
from dreamserve.spaces import BoxSpace, DiscreteSpace
from dreamserve_training.envs import EnvSpec
from dreamserve_training.models.mixture import TemperatureRule
from dreamserve_training.models.world_model import WorldModel


def world_spec(
    name: str,
    env: EnvSpec,
    memory: WorldModel,
    *,
    temperature_rule: TemperatureRule = "paper",
    done_threshold: float = 0.0,
    constant_reward: float | None = None,
) -> WorldSpec:
    """Return the spec of the world `name`, learned from `env`.

    `constant_reward` is the reward of every step, for a model without a reward head.
    """
    top, bottom, left, right = env.crop
    frame = FrameSpec(
        source_shape=env.frame_shape,
        crop=Crop(top=top, bottom=bottom, left=left, right=right),
        shape=(*env.size, env.frame_shape[2]),
    )
    space = DiscreteSpace(n=len(env.action_names), names=env.action_names)
    return spec_of(
        name,
        space,
        frame,
        memory,
        temperature_rule=temperature_rule,
        done_threshold=done_threshold,
        constant_reward=constant_reward,
    )


def spec_of(
    name: str,
    action_space: DiscreteSpace | BoxSpace,
    frame: FrameSpec,
    memory: WorldModel,
    *,
    temperature_rule: TemperatureRule = "paper",
    done_threshold: float = 0.0,
    constant_reward: float | None = None,
) -> WorldSpec:
    """Return the spec for any action space and camera; other fields come from `memory`."""
    if constant_reward is None:
        reward = RewardRule(kind="head")
    else:
        reward = RewardRule(kind="constant", value=constant_reward)
    return WorldSpec(
        name=name,
        action_space=action_space,
        observation=frame,
        **memory.spec()._asdict(),
        temperature_rule=temperature_rule,
        done=DoneRule(threshold=done_threshold),
        reward=reward,
    )
