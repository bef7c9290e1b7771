"""Recipes by name, or from a user's Python file."""

import importlib.util
import re
import sys
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from traceback import extract_tb
from typing import Any

from dreamserve_training.recipe import Recipe
from dreamserve_training.recipe_code import code_of

BUILT_IN = Path(__file__).parent / "recipes"
RECIPES = ("carracing", "takecover")
_WORLD_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class RecipeError(ValueError):
    """A recipe that cannot be used; the message says which and what would be right."""


def recipe_name(recipe: str) -> str:
    """Return the name of a recipe's world and folders: the name itself, or the file's name."""
    name = Path(recipe).stem.lower() if is_file(recipe) else recipe
    if not _WORLD_NAME.fullmatch(name):
        raise RecipeError(
            f"{recipe}: a world is named after its recipe's file: small letters, digits, - and _,"
            f" not {name!r}"
        )
    return name


def is_file(recipe: str) -> bool:
    """Whether `recipe` names a file and not one of RECIPES."""
    return recipe.endswith(".py") or "/" in recipe


def load_recipe(recipe: str) -> Recipe:
    """Return the recipe called `recipe`, or the one in the file `recipe`, with its `name` set.

    Its callables can be sent to worker processes, which load the file again. Raises RecipeError for
    an unknown name and for a file without RECIPE.
    """
    name = recipe_name(recipe)
    if not is_file(recipe) and recipe not in RECIPES:
        raise RecipeError(
            f"no recipe {recipe!r}; known recipes: {', '.join(RECIPES)}. A recipe of your own is a"
            " file, ./NAME.py, which `dreamserve-train new NAME --env ID` writes"
        )
    path = Path(recipe).resolve() if is_file(recipe) else BUILT_IN / f"{recipe}.py"
    found = _recipe_of(path)
    if found.name is not None and not _WORLD_NAME.fullmatch(found.name):
        raise RecipeError(
            f"{path}: name={found.name!r}: a world's name has small letters, digits, - and _"
        )
    from_file: dict[str, Any] = {
        field: FromFile(path, field)
        for field in ("env", "policy", "record")
        if callable(getattr(found, field))
    }
    return replace(found, name=found.name or name, **from_file)


@dataclass(frozen=True)
class FromFile:
    """A callable of the recipe in a file, for worker processes, which load the file again."""

    path: Path
    field: str

    def __call__(self, *arguments: Any) -> Any:
        """Call the recipe's field."""
        return getattr(_recipe_of(self.path), self.field)(*arguments)

    def code(self) -> str:
        """Return a digest of the callable's code; "" for a recipe of this package."""
        if self.path.parent == BUILT_IN:
            return ""
        return code_of(self.path, self.field, getattr(_recipe_of(self.path), self.field))

    @property
    def __name__(self) -> str:
        """The callable's own name."""
        found = getattr(_recipe_of(self.path), self.field)
        return str(getattr(found, "__name__", type(found).__name__))


def _place(path: Path, error: BaseException) -> str:
    """Return the file, and the line of it that raised `error`."""
    lines = [each.lineno for each in extract_tb(error.__traceback__) if each.filename == str(path)]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def _told(error: BaseException) -> str:
    told, hint = f"{type(error).__name__}: {error}", ""
    if "relative import" in str(error):
        hint = "; a recipe runs like a script: import modules beside it by their names"
    if "Recipe.__init__() got an unexpected" in str(error):
        known = ", ".join(field.name for field in fields(Recipe))
        hint = f"; a recipe has {known}; options of a stage are in its dict: train={{'epochs': 5}}"
    return told + hint


@lru_cache
def _recipe_of(path: Path) -> Recipe:
    """Return RECIPE of the file, which runs like a script: its folder can be imported from."""
    if not path.is_file():
        raise RecipeError(f"{path}: no such recipe file")
    unique = f"{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses look their module up
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise RecipeError(f"{_place(path, error)}: {_told(error)}") from error
    found = getattr(module, "RECIPE", None)
    if not isinstance(found, Recipe):
        raise RecipeError(f"{path}: must define RECIPE = Recipe(env=...), not {found!r}")
    return found
