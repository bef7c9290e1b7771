"""Validation: check the correctness of a bundle, or of trained models, and report it."""

from dreamserve_training.validation.report import Check, Report
from dreamserve_training.validation.suite import validate, validate_models

__all__ = ["Check", "Report", "validate", "validate_models"]
