"""The spec of a world made of a ConvVAE and an MDN-RNN."""

from dreamserve.manifest import (
    BoxSpace,
    Crop,
    DiscreteSpace,
    DoneRule,
    FrameSpec,
    MixtureSpec,
    NoiseSpec,
    RewardRule,
    TensorSpec,
    WorldSpec,
)
from dreamserve_training.envs import EnvSpec
from dreamserve_training.models.mixture import TemperatureRule
from dreamserve_training.models.recurrent import MDNRNN


def world_spec(
    name: str,
    env: EnvSpec,
    mdnrnn: MDNRNN,
    *,
    temperature_rule: TemperatureRule = "paper",
    done_threshold: float = 0.0,
    constant_reward: float | None = None,
) -> WorldSpec:
    """Return what the world called `name` is, learned from `env`, whose actions are Discrete.

    `constant_reward` is the reward of every step survived, for a model without a reward head.
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
        mdnrnn,
        temperature_rule=temperature_rule,
        done_threshold=done_threshold,
        constant_reward=constant_reward,
    )


def spec_of(
    name: str,
    action_space: DiscreteSpace | BoxSpace,
    frame: FrameSpec,
    mdnrnn: MDNRNN,
    *,
    temperature_rule: TemperatureRule = "paper",
    done_threshold: float = 0.0,
    constant_reward: float | None = None,
) -> WorldSpec:
    """Return the spec for any action space and camera; the rest follows from the model."""
    if constant_reward is None:
        reward = RewardRule(kind="head")
    else:
        reward = RewardRule(kind="constant", value=constant_reward)
    z, memory = mdnrnn.z_dim, (mdnrnn.rnn_size,)
    return WorldSpec(
        name=name,
        action_space=action_space,
        frame=frame,
        latent_size=z,
        recurrent_state=(TensorSpec(name="h", shape=memory), TensorSpec(name="c", shape=memory)),
        mixture=MixtureSpec(head=mdnrnn.head, components=mdnrnn.num_mixtures),
        noise=NoiseSpec(normal=z, uniform=z if mdnrnn.head == "per_dimension" else 1),
        temperature_rule=temperature_rule,
        done=DoneRule(threshold=done_threshold),
        reward=reward,
    )
