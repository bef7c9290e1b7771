"""Export a ConvVAE and a memory model as a bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dreamserve.bundle import Arrays
from dreamserve.manifest import WorldSpec
from dreamserve.observations import FrameSpec
from dreamserve_training.export.card import Picture
from dreamserve_training.export.errors import ExportError
from dreamserve_training.export.given import check_bank
from dreamserve_training.export.graphs import PolicyGraph, StepGraph, vision_graphs
from dreamserve_training.export.precision import round_to_half
from dreamserve_training.export.reference import ModelBackend
from dreamserve_training.export.writing import MAX_BYTES, WorldGraphs, write_bundle
from dreamserve_training.models.catalog import Vision
from dreamserve_training.models.controller import LayeredPolicy, LinearPolicy
from dreamserve_training.models.world_model import WorldModel


def export_world(
    out_dir: str | Path,
    *,
    spec: WorldSpec,
    vae: Vision,
    memory: WorldModel,
    bank: Arrays,
    origin: Mapping[str, Any],
    quality: Mapping[str, Any],
    controller: LayeredPolicy | None = None,
    pictures: Mapping[str, Picture] | None = None,
    torchscript: bool = True,
    max_bytes: int = MAX_BYTES,
    draft: Path | None = None,
) -> Path:
    """Write the bundle of this world to `out_dir`, atomically, and return its path.

    A linear `controller` becomes the bundle's controller, another one its policy graph.
    The weights are rounded to half precision first; measure `quality` on the models that
    `round_to_half` returns. `spec` comes from `world_spec` and `bank` from `make_bank`; other
    arguments are those of `write_bundle`. The files are compared with the PyTorch models.

    Raises ExportError as `write_bundle` does, and if the parts do not fit each other.
    """
    vae, memory = round_to_half(vae, memory)
    _check_parts(spec, vae, memory, bank)
    encode, decode = vision_graphs(vae)
    step = StepGraph(memory, spec.temperature_rule, spec.reward.value)
    linear, policy = None, None
    match controller:
        case LinearPolicy():
            linear = controller
        case LayeredPolicy():
            policy = PolicyGraph(controller, tuple(spec.tensor_sizes()))
            spec = spec.model_copy(update={"has_policy": True})
    return write_bundle(
        out_dir,
        spec=spec,
        graphs=WorldGraphs(encode, step, decode, policy),
        reference=ModelBackend(spec, vae, memory, controller),
        bank=bank,
        origin=origin,
        quality=quality,
        controller=linear,
        pictures=pictures,
        torchscript=torchscript,
        max_bytes=max_bytes,
        draft=draft,
    )


def _check_parts(spec: WorldSpec, vae: Vision, memory: WorldModel, bank: Arrays) -> None:
    sizes = {"spec": spec.latent_size, "vae": vae.z_dim, "memory": memory.z_dim}
    if len(set(sizes.values())) > 1:
        raise ExportError(f"the parts have different latent sizes: {sizes}")
    seen = spec.observation
    if isinstance(seen, FrameSpec) and seen.value_range != (0.0, 1.0):
        raise ExportError(f"a ConvVAE takes frames in [0, 1], not {seen.value_range}")
    taken = memory.action_input
    if not taken.fits(spec.action_space):
        made_for = taken.space or f"{taken.size} continuous actions"
        raise ExportError(f"the model takes {made_for}; the spec has {spec.action_space}")
    if (spec.reward.kind == "head") != memory.predict_reward:
        raise ExportError(f"the reward rule {spec.reward.kind!r} does not fit the model's heads")
    states = {tensor.name: f"state.{tensor.name}" for tensor in spec.recurrent_state}
    check_bank(spec, bank)
    try:
        memory.check_state({name: torch.from_numpy(bank[key]) for name, key in states.items()})
    except ValueError as error:
        raise ExportError(f"bank: {error}") from error
