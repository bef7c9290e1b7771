"""Export a trained world as a bundle; its files are checked against the trained models."""

from dreamserve_training.export.bank import BankConfig, make_bank
from dreamserve_training.export.card import Picture
from dreamserve_training.export.errors import ExportError
from dreamserve_training.export.precision import half_precision, round_to_half
from dreamserve_training.export.reference import ModelBackend
from dreamserve_training.export.spec import spec_of, world_spec
from dreamserve_training.export.world import export_world
from dreamserve_training.export.writing import WorldGraphs, write_bundle

__all__ = [
    "BankConfig",
    "ExportError",
    "ModelBackend",
    "Picture",
    "WorldGraphs",
    "export_world",
    "half_precision",
    "make_bank",
    "round_to_half",
    "spec_of",
    "world_spec",
    "write_bundle",
]
