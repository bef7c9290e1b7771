"""Options of a recipe that late stages read, checked before anything is collected."""

from collections.abc import Mapping
from typing import Any

import torch

from dreamserve.spaces import ActionSpace
from dreamserve.validation import validated
from dreamserve_protocol.errors import CallerError, InvalidActionError
from dreamserve_protocol.plan import PlanRequest
from dreamserve_training.models.catalog import make_memory
from dreamserve_training.recipe import Actions
from dreamserve_training.recipe_files import RecipeError


def check_baselines(baselines: Mapping[str, Actions], space: ActionSpace) -> None:
    """Raise RecipeError for a baseline without actions, or with actions outside `space`."""
    for name, actions in baselines.items():
        if not len(actions):
            raise RecipeError(f"baselines: {name!r} has no actions")
        try:
            space.check(list(actions), leading=(len(actions),))
        except InvalidActionError as error:
            raise RecipeError(f"baselines: {name!r}: {error}") from error


def check_plan(fields: Mapping[str, Any]) -> None:
    """Raise RecipeError for fields that /plan does not take."""
    try:
        validated(PlanRequest, {"session_id": "plan", **fields})
    except CallerError as error:
        raise RecipeError(f"evaluate: plan: {error}") from error


def check_memory(core: str, z_dim: int, space: ActionSpace, options: Mapping[str, Any]) -> None:
    """Raise RecipeError for an M that refuses its options; its weights take no memory here."""
    try:
        with torch.device("meta"):
            make_memory(core, **{"z_dim": z_dim, "action_space": space, **options})
    except (TypeError, ValueError) as error:
        raise RecipeError(f"memory, memory_options: {error}") from error
    except RuntimeError:
        pass  # a core that needs real numbers to be made; it is made when M is trained
