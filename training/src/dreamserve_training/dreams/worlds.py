"""A VAE and an MDN-RNN as a World in memory: the engine's dream, before any export."""

from pathlib import Path

from dreamserve.backends.torch import TorchBackend
from dreamserve.engine.world import World
from dreamserve.manifest import ActionSpace, BoxSpace, Crop, DiscreteSpace, FrameSpec
from dreamserve_training.export.graphs import DecodeGraph, EncodeGraph, StepGraph
from dreamserve_training.export.spec import spec_of
from dreamserve_training.models.mixture import TemperatureRule
from dreamserve_training.models.recurrent import MDNRNN, load_mdnrnn
from dreamserve_training.models.vae import ConvVAE, load_vae


def world_from_models(
    vae: ConvVAE | str | Path,
    mdnrnn: MDNRNN | str | Path,
    *,
    name: str = "dream",
    temperature_rule: TemperatureRule = "paper",
    constant_reward: float = 1.0,
    device: str = "cpu",
) -> World:
    """Return the world of these models, or of their checkpoints.

    Without a reward head, every step earns `constant_reward`. Real starting points belong to a
    bundle; a reset that names none draws its latent from the VAE's prior, N(0, I). Continuous
    actions lie in [-1, 1]. Raises CheckpointError for a file that is no checkpoint and ValueError
    for models that do not fit each other.
    """
    if not isinstance(vae, ConvVAE):
        vae = load_vae(vae)
    if not isinstance(mdnrnn, MDNRNN):
        mdnrnn = load_mdnrnn(mdnrnn)
    if vae.z_dim != mdnrnn.z_dim:
        raise ValueError(f"the VAE has {vae.z_dim} latents, the MDN-RNN {mdnrnn.z_dim}")
    reward = None if mdnrnn.predict_reward else constant_reward
    spec = spec_of(
        name,
        _action_space(mdnrnn),
        _frames_as_they_are(vae),
        mdnrnn,
        temperature_rule=temperature_rule,
        constant_reward=reward,
    )
    backend = TorchBackend(
        EncodeGraph(vae).to(device),
        StepGraph(mdnrnn, temperature_rule, reward).to(device),
        DecodeGraph(vae).to(device),
        device,
    )
    return World(spec, backend)


def _frames_as_they_are(vae: ConvVAE) -> FrameSpec:
    height, width, _ = vae.frame_shape
    whole = Crop(top=0, bottom=height, left=0, right=width)
    return FrameSpec(source_shape=vae.frame_shape, crop=whole, shape=vae.frame_shape)


def _action_space(mdnrnn: MDNRNN) -> ActionSpace:
    names = tuple(f"action {i}" for i in range(mdnrnn.action_dim))
    if mdnrnn.discrete_actions:
        return DiscreteSpace(n=mdnrnn.action_dim, names=names)
    bound = (1.0,) * mdnrnn.action_dim
    return BoxSpace(low=tuple(-value for value in bound), high=bound, names=names)
