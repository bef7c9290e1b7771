"""A recipe's own options in place of a config's defaults."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from dreamserve_training.recipe_files import RecipeError
from dreamserve_training.runs.options import Options

Config = TypeVar("Config", bound=Options)


def with_options(field: str, config: Config, options: Mapping[str, Any]) -> Config:
    """Return `config` with `options` in place of its defaults. RecipeError for an unknown one."""
    known = {item.name for item in fields(config)}
    if unknown := sorted(set(options) - known):
        raise RecipeError(f"{field}: unknown options {unknown}; known: {', '.join(sorted(known))}")
    return replace(config, **options)
