"""Validation: is a world right? Every check of a bundle, or of trained models, as one report."""

from dreamserve_training.validation.report import Check, Report
from dreamserve_training.validation.suite import validate, validate_models

__all__ = ["Check", "Report", "validate", "validate_models"]
