"""What a dataset holds, as `dataset.json` beside its episodes: observations, actions, source.

The episodes alone do not say which actions were possible. An import writes the file; checks,
recipes and exports read it.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dreamserve.spaces import ActionSpace
from dreamserve_training.data.episodes import DESCRIPTION_FILE, DataError
from dreamserve_training.files import atomic_write


class Description(BaseModel):
    """A dataset's spaces, source and size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    observation_kind: str  # frames or vectors, the array that holds the observations
    observation_shape: tuple[int, ...]  # (H, W, C) or (n,)
    action_space: ActionSpace
    episodes: int
    steps: int


def write_description(directory: Path, description: Description) -> None:
    """Write `description` beside the episodes of `directory`, atomically."""
    with atomic_write(directory / DESCRIPTION_FILE) as file:
        file.write(f"{description.model_dump_json(indent=1)}\n".encode())


def read_description(directory: str | Path) -> Description | None:
    """Return the description of `directory`, None if it has none; DataError if it is invalid."""
    path = Path(directory) / DESCRIPTION_FILE
    try:
        content: Any = json.loads(path.read_bytes())
        return Description.model_validate(content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
