"""Statistics of a directory of episodes, and which of its files cannot be trained on."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dreamserve.spaces import Space
from dreamserve_training.data.actions import check_actions
from dreamserve_training.data.checks import (
    OBSERVATION_FIELDS,
    all_zero_frames,
    check_latent_episode,
    darkness,
    load_raw_episode,
)
from dreamserve_training.data.description import read_description
from dreamserve_training.data.episodes import (
    DataError,
    Episode,
    episode_paths,
    load_episode,
    read_headers,
)


@dataclass
class DatasetReport:
    """Statistics of a directory of episodes, and its unusable files in `problems`."""

    directory: Path
    lengths: list[int] = field(default_factory=list)  # steps of each valid episode
    deaths: int = 0  # episodes whose last step terminated
    terminal_frames: int = 0  # raw episodes whose last frame is all zeros; encoding drops it
    black_frames: int = 0  # other all-zero frames, which are trained on
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)  # array → shape of one row
    actions: Counter[int] = field(default_factory=Counter)  # action → count; empty if continuous
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)  # array → min, max
    problems: dict[str, str] = field(default_factory=dict)  # file name → reason

    @property
    def passed(self) -> bool:
        """Whether every file can be trained on."""
        return not self.problems

    def add(self, episode: Episode) -> None:
        """Add a valid episode to the statistics."""
        self.lengths.append(len(episode["actions"]))
        self.deaths += bool(episode["terminated"][-1])
        if np.issubdtype(episode["actions"].dtype, np.integer) and episode["actions"].ndim == 1:
            self.actions.update(episode["actions"].tolist())
        if "frames" in episode:
            self.black_frames += int(all_zero_frames(episode["frames"]).sum())
        for name, values in episode.items():
            self.shapes.setdefault(name, values.shape[1:])
            if np.issubdtype(values.dtype, np.number) and not np.isnan(values).all():
                low, high = float(np.nanmin(values)), float(np.nanmax(values))
                previous = self.ranges.get(name, (low, high))
                self.ranges[name] = (min(previous[0], low), max(previous[1], high))

    def __str__(self) -> str:
        lines = [f"{self.directory}: {len(self.lengths)} episodes, {sum(self.lengths)} steps"]
        if self.lengths:
            shortest, longest = min(self.lengths), max(self.lengths)
            middle = np.median(self.lengths)
            lines.append(f"  length   {shortest} to {longest}, median {middle:g}")
            lines.append(f"  deaths   {self.deaths}")
        if self.terminal_frames:
            lines.append(f"  {self.terminal_frames} end with an all-zero frame; encoding drops it")
        if self.black_frames:
            lines.append(f"  {self.black_frames} other frames are all zeros; V is trained on them")
        if "frames" in self.ranges and (fault := darkness(self.ranges["frames"][1])):
            lines.append(f"  {fault}; scale them")
        if self.actions:
            counts = ", ".join(f"{action}: {n}" for action, n in sorted(self.actions.items()))
            lines.append(f"  actions  {counts}")
        for name, (low, high) in self.ranges.items():
            size = " x ".join(map(str, self.shapes[name]))
            lines.append(f"  {name:<10} {low:.4g} to {high:.4g}" + (f"  ({size})" if size else ""))
        lines += [f"  PROBLEM  {problem}" for problem in self.problems.values()]
        lines.append("  passed" if self.passed else f"  {len(self.problems)} unusable file(s)")
        return "\n".join(lines)


def validate_dataset(directory: str | Path, space: Space | None = None) -> DatasetReport:
    """Read the episodes of `directory`, raw or latent, one at a time, and return a report.

    Invalid files are listed in `problems`, and so are files whose arrays differ in size or kind
    from the first valid file's, and actions outside `space` (default: the dataset's described
    one, if any). Raises DataError only if `directory` has no episodes.
    """
    report = DatasetReport(Path(directory))
    described = read_description(directory)
    if space is None and described is not None:
        space = described.action_space
    form: dict[str, tuple[object, ...]] | None = None
    for path in episode_paths(directory):
        try:
            episode, had_terminal_frame = _load_valid(path)
            form = _checked_form(form, episode, path)
            if space is not None:
                check_actions(episode["actions"], space, path)
        except DataError as error:
            report.problems[path.name] = str(error)
        else:
            report.add(episode)
            report.terminal_frames += had_terminal_frame
    return report


def _load_valid(path: Path) -> tuple[Episode, bool]:
    names = read_headers(path)
    if not {"mu", "logvar", "z"}.intersection(names):
        return load_raw_episode(path)
    episode = load_episode(path)
    check_latent_episode(episode, path)
    return episode, False


def _checked_form(
    form: dict[str, tuple[object, ...]] | None, episode: Episode, where: Path
) -> dict[str, tuple[object, ...]]:
    """Return each array's shape of a row and the kind of actions; DataError if not as `form`."""
    found: dict[str, tuple[object, ...]] = {
        name: episode[name].shape[1:]
        for name in (*OBSERVATION_FIELDS, "mu", "logvar", "z", "actions")
        if name in episode
    }
    kind = "floats" if episode["actions"].dtype.kind == "f" else "integers"
    found["actions"] = (kind, *found["actions"])
    if form is not None and found != form:
        raise DataError(f"{where}: arrays are {found}, but {form} in the files before")
    return found
