"""What recorded data told of itself, kept in the run's folder: a run outlives its data."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from dreamserve_training.data.description import Description, read_description
from dreamserve_training.data.disk import Data
from dreamserve_training.data.episodes import length_of, read_headers
from dreamserve_training.workspace import Workspace, read_json, write_json


class Told(BaseModel):
    """What a folder of episodes tells."""

    model_config = ConfigDict(frozen=True)

    folder: str
    described: Description | None
    episodes: int
    steps: int
    longest: int  # steps of an episode
    first: str  # episode
    names: Sequence[str]  # of its arrays


def told_by(data: Data, workspace: Workspace | None) -> Told:
    """Return what `data` tells, or, if its folder has gone since, what it told in this workspace.

    Raises DataError for a folder that is not there, or holds no episodes.
    """
    if workspace is not None and not data.exists():
        known = read_json(workspace.recorded, default=None)
        if known is not None and known["folder"] == str(data.folder):
            return Told.model_validate(known)
    paths = data.paths()
    lengths = [length_of(path, "actions") for path in paths]
    told = Told(
        folder=str(data.folder),
        described=read_description(data.folder),
        episodes=len(paths),
        steps=sum(lengths),
        longest=max(lengths),
        first=str(paths[0]),
        names=sorted(read_headers(paths[0])),
    )
    if workspace is not None:
        write_json(workspace.recorded, told.model_dump(mode="json"))
    return told
