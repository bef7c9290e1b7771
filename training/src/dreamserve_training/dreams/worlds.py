"""V and M as a World for the engine, without a bundle."""

from pathlib import Path

from dreamserve.backends.torch import TorchBackend
from dreamserve.engine.world import World
from dreamserve.observations import Crop, FrameSpec
from dreamserve.spaces import ActionSpace, BoxSpace
from dreamserve_training.export.graphs import DecodeGraph, EncodeGraph, StepGraph
from dreamserve_training.export.spec import spec_of
from dreamserve_training.models.catalog import load_memory
from dreamserve_training.models.mixture import TemperatureRule
from dreamserve_training.models.vae import ConvVAE, load_vae
from dreamserve_training.models.world_model import WorldModel


def world_from_models(
    vae: ConvVAE | str | Path,
    memory: WorldModel | str | Path,
    *,
    name: str = "dream",
    temperature_rule: TemperatureRule = "paper",
    constant_reward: float = 1.0,
    device: str = "cpu",
) -> World:
    """Return the world of V and M, or of their checkpoints.

    Without a reward head, every step earns `constant_reward`. The world has no bank, so by default
    a reset draws its latent from the VAE's prior, N(0, I). The action space is M's; continuous
    actions without known bounds are in [-1, 1].
    Raises CheckpointError for a file that is not a checkpoint and ValueError for models with
    different latent sizes.
    """
    if not isinstance(vae, ConvVAE):
        vae = load_vae(vae)
    if not isinstance(memory, WorldModel):
        memory = load_memory(memory)
    if vae.z_dim != memory.z_dim:
        raise ValueError(f"V has {vae.z_dim} latents, M has {memory.z_dim}")
    reward = None if memory.predict_reward else constant_reward
    spec = spec_of(
        name,
        _action_space(memory),
        _full_frames(vae),
        memory,
        temperature_rule=temperature_rule,
        constant_reward=reward,
    )
    backend = TorchBackend(
        spec,
        {
            "encode": EncodeGraph(vae).to(device),
            "step": StepGraph(memory, temperature_rule, reward).to(device),
            "decode": DecodeGraph(vae).to(device),
        },
        device,
    )
    return World(spec, backend)


def _full_frames(vae: ConvVAE) -> FrameSpec:
    height, width, _ = vae.frame_shape
    full = Crop(top=0, bottom=height, left=0, right=width)
    return FrameSpec(source_shape=vae.frame_shape, crop=full, shape=vae.frame_shape)


def _action_space(memory: WorldModel) -> ActionSpace:
    if memory.action_input.space is not None:
        return memory.action_input.space
    names = tuple(f"action {i}" for i in range(memory.action_dim))
    bound = (1.0,) * memory.action_dim
    return BoxSpace(low=tuple(-value for value in bound), high=bound, names=names)
