"""The cores of M, by the name that recipes and checkpoints give. A new core is a row of CORES."""

from pathlib import Path
from typing import Any

from dreamserve_training.models.checkpoint import load_model, save_model
from dreamserve_training.models.lstm import MDNRNN
from dreamserve_training.models.world_model import WorldModel

CORES: dict[str, type[WorldModel]] = {
    MDNRNN.name: MDNRNN,
}


def make_memory(core: str, **options: Any) -> WorldModel:
    """Return an untrained model; ValueError names the cores there are."""
    if core not in CORES:
        raise ValueError(f"no memory model {core!r}; there is {', '.join(CORES)}")
    return CORES[core](**options)


def save_memory(model: WorldModel, path: str | Path) -> None:
    """Write `model` to `path`, whole or not at all."""
    save_model(model, path, core=model.name)


def load_memory(path: str | Path) -> WorldModel:
    """Read a model; CheckpointError says what is wrong with the file."""
    # checkpoints were written without a core's name while there was one core only
    return load_model(path, "M", lambda content: CORES[content.get("core", MDNRNN.name)])
