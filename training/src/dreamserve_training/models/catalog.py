"""The kinds of V, and the cores of M by their name in recipes. To add a core, add it to CORES."""

from pathlib import Path
from typing import Any

from dreamserve_training.models.checkpoint import CheckpointError, load_model, save_model
from dreamserve_training.models.lstm import MDNRNN
from dreamserve_training.models.vae import ConvVAE
from dreamserve_training.models.vectors import VectorScale
from dreamserve_training.models.world_model import WorldModel

Vision = ConvVAE | VectorScale

CORES: dict[str, type[WorldModel]] = {
    MDNRNN.name: MDNRNN,
}


def make_memory(core: str, **options: Any) -> WorldModel:
    """Return an untrained M; `options` are the core's arguments. ValueError: unknown core."""
    if core not in CORES:
        raise ValueError(f"no memory model {core!r}; known models: {', '.join(CORES)}")
    return CORES[core](**options)


def save_memory(model: WorldModel, path: str | Path) -> None:
    """Write the checkpoint of `model` to `path`, atomically."""
    save_model(model, path, core=model.name)


def load_memory(path: str | Path) -> WorldModel:
    """Return M from its checkpoint; CheckpointError if the file is not one."""
    # old checkpoints do not name their core, which is MDNRNN
    return load_model(path, "M", lambda content: CORES[content.get("core", MDNRNN.name)])


def take_weights(model: WorldModel, path: str | Path) -> None:
    """Give `model` the weights of the checkpoint `path`.

    Raises CheckpointError, and leaves `model` as it is, if that is not of the same core and sizes.
    """
    other = load_memory(path)
    if type(other) is not type(model):
        raise CheckpointError(f"{path}: is a {other.name}, not a {model.name}")
    ours, theirs = model.state_dict(), other.state_dict()
    for name in sorted(ours.keys() | theirs.keys()):
        shapes = [tuple(held[name].shape) if name in held else "absent" for held in (theirs, ours)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"{path}: {name} is {shapes[0]}; the model that is trained has {shapes[1]}"
            )
    model.load_state_dict(theirs)


def save_vision(vision: Vision, path: str | Path) -> None:
    """Write the checkpoint of `vision` to `path`, atomically."""
    save_model(vision, path, vision="vectors" if isinstance(vision, VectorScale) else "frames")


def load_vision(path: str | Path) -> Vision:
    """Return V from its checkpoint; CheckpointError if the file is not one."""
    vision: Vision = load_model(path, "V", _vision_class)
    return vision


def _vision_class(content: dict[str, Any]) -> type[Any]:
    # checkpoints of a ConvVAE need not say so
    return VectorScale if content.get("vision") == "vectors" else ConvVAE
