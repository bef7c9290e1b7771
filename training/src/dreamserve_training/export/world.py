"""Export a ConvVAE and an MDN-RNN as a bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dreamserve.bundle import Arrays
from dreamserve.manifest import DiscreteSpace, WorldSpec
from dreamserve_training.export.bank import check_memory
from dreamserve_training.export.card import Picture
from dreamserve_training.export.errors import ExportError
from dreamserve_training.export.graphs import DecodeGraph, EncodeGraph, StepGraph
from dreamserve_training.export.precision import round_to_half
from dreamserve_training.export.reference import ModelBackend
from dreamserve_training.export.writing import WorldGraphs, write_bundle
from dreamserve_training.models.controller import LinearPolicy
from dreamserve_training.models.recurrent import MDNRNN
from dreamserve_training.models.vae import ConvVAE


def export_world(
    out_dir: str | Path,
    *,
    spec: WorldSpec,
    vae: ConvVAE,
    mdnrnn: MDNRNN,
    bank: Arrays,
    origin: Mapping[str, Any],
    quality: Mapping[str, Any],
    controller: LinearPolicy | None = None,
    pictures: Mapping[str, Picture] | None = None,
) -> Path:
    """Write the bundle of this world to `out_dir`, whole or not at all, and return its path.

    The weights are rounded to half precision first: `round_to_half` gives the models to measure
    `quality` on. `spec` comes from `world_spec` and `bank` from `make_bank`; the rest is as
    `write_bundle` says. The files are compared with the PyTorch models themselves.

    Raises ExportError as `write_bundle` does, and when the parts do not fit each other.
    """
    vae, mdnrnn = round_to_half(vae, mdnrnn)
    _check_parts(spec, vae, mdnrnn, bank)
    step = StepGraph(mdnrnn, spec.temperature_rule, spec.reward.value)
    return write_bundle(
        out_dir,
        spec=spec,
        graphs=WorldGraphs(EncodeGraph(vae), step, DecodeGraph(vae)),
        reference=ModelBackend(spec, vae, mdnrnn),
        bank=bank,
        origin=origin,
        quality=quality,
        controller=controller,
        pictures=pictures,
    )


def _check_parts(spec: WorldSpec, vae: ConvVAE, mdnrnn: MDNRNN, bank: Arrays) -> None:
    sizes = {"spec": spec.latent_size, "vae": vae.z_dim, "mdnrnn": mdnrnn.z_dim}
    if len(set(sizes.values())) > 1:
        raise ExportError(f"the parts have different latent sizes: {sizes}")
    if spec.frame.value_range != (0.0, 1.0):
        raise ExportError(f"a ConvVAE sees [0, 1], the spec says {spec.frame.value_range}")
    space = spec.action_space
    actions = space.n if isinstance(space, DiscreteSpace) else len(space.low)
    discrete = isinstance(space, DiscreteSpace)
    if (actions, discrete) != (mdnrnn.action_dim, mdnrnn.discrete_actions):
        raise ExportError(f"the model takes {mdnrnn.action_dim} actions, the spec has {actions}")
    if (spec.reward.kind == "head") != mdnrnn.predict_reward:
        raise ExportError(f"the reward rule is {spec.reward.kind!r}, which the model cannot follow")
    expected = {"mu", "logvar", *(f"state.{tensor.name}" for tensor in spec.recurrent_state)}
    if set(bank) != expected:
        raise ExportError(f"the bank must hold {sorted(expected)}, it holds {sorted(bank)}")
    check_memory(bank)
