"""The validation suite: the checks of bundles and of models, in order.

dreamserve-train validate bundles/takecover
"""

from functools import partial
from pathlib import Path

from dreamserve.backends.choose import BackendName
from dreamserve.engine.world import World
from dreamserve.loading import load_world
from dreamserve.trust import UNTRUSTED, Trust
from dreamserve_training.dreams.worlds import world_from_models
from dreamserve_training.export.reference import ModelBackend
from dreamserve_training.models.catalog import load_memory
from dreamserve_training.models.vae import ConvVAE, load_vae
from dreamserve_training.models.world_model import WorldModel
from dreamserve_training.validation import costs, dreams, graphs, models
from dreamserve_training.validation.report import Report

GRAPH_CHECKS = (
    graphs.shapes,
    graphs.finite,
    graphs.extremes,
    graphs.sampling,
    graphs.temperature,
    graphs.independent_rows,
)
DREAM_CHECKS = (dreams.long_dreams, dreams.independent_dreams, dreams.environment)
COST_CHECKS = (costs.memory, costs.speed)
MODEL_CHECKS = (models.weights, models.forward, models.memory)
ONNX_ONLY = "ONNX only; its TorchScript is a program, which --trust-torchscript runs and compares"


def validate(bundle: str | Path, trust: Trust = UNTRUSTED) -> Report:
    """Check the bundle in the folder `bundle` and return the report.

    It is checked on backend torch too, and both are compared, if `trust.trust_torchscript`. A
    bundle that cannot be loaded is a failed check, not an exception.
    """
    trusted = trust.trust_torchscript
    backends: tuple[BackendName, ...] = ("onnx", "torch") if trusted else ("onnx",)
    report = Report(f"bundle {bundle}" if trusted else f"bundle {bundle}, {ONNX_ONLY}")
    worlds: dict[BackendName, World] = {}
    for backend in backends:
        report.run(f"load ({backend})", partial(_load, worlds, bundle, backend, trust))
    for backend, world in worlds.items():
        for check in GRAPH_CHECKS:
            report.run(f"{_title(check.__name__)} ({backend})", partial(check, world))
    if len(worlds) == 2:
        pair = worlds["torch"], worlds["onnx"]
        report.run("parity", partial(graphs.parity, *pair))
    if worlds:
        _check_dreams(report, next(iter(worlds.values())))
    return report


def validate_models(vae: ConvVAE | str | Path, memory: WorldModel | str | Path) -> Report:
    """Check V and M, or their checkpoints, before export and return the report.

    Raises CheckpointError for a file that is not a checkpoint.
    """
    vae = vae if isinstance(vae, ConvVAE) else load_vae(vae)
    memory = memory if isinstance(memory, WorldModel) else load_memory(memory)
    report = Report(f"V with {vae.z_dim} latents, M with core {memory.name}")
    for model_check in MODEL_CHECKS:
        report.run(f"models: {_title(model_check.__name__)}", partial(model_check, vae, memory))
    if not report.passed:
        return report
    world = world_from_models(vae, memory)
    for check in GRAPH_CHECKS:
        report.run(_title(check.__name__), partial(check, world))
    reference = World(world.spec, ModelBackend(world.spec, vae, memory))
    report.run("parity", partial(graphs.parity, reference, world))
    _check_dreams(report, world)
    return report


def _check_dreams(report: Report, world: World) -> None:
    for check in (*DREAM_CHECKS, *COST_CHECKS):
        report.run(_title(check.__name__), partial(check, world))


def _load(
    worlds: dict[BackendName, World], bundle: str | Path, backend: BackendName, trust: Trust
) -> str:
    world = load_world(bundle, backend, trust=trust)
    worlds[backend] = world
    spec = world.spec
    state = ", ".join(f"{t.name} {list(t.shape)}" for t in spec.recurrent_state)
    return (
        f"{spec.name}: {spec.latent_size} latents, state {state},"
        f" {spec.head}, {world.bank_size} starting points"
    )


def _title(function: str) -> str:
    return function.replace("_", " ")
