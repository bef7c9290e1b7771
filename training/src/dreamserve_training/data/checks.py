"""Check that an episode, or a directory of episodes, can be trained on.

`dreamserve_training.data.episodes` describes the arrays. A raw episode holds `frames` (T, H, W, 3)
uint8; a latent episode holds `mu` and `logvar` (T, Z), or `z` (T, Z).
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dreamserve_training.data.episodes import DataError, Episode, episode_paths, load_episode

STEP_FIELDS = ("actions", "rewards", "terminated")


def latent_fields(names: set[str], where: str | Path) -> tuple[str, ...]:
    """Return the latent fields in `names`: ("mu", "logvar") or ("z",); DataError if neither."""
    for fields in (("mu", "logvar"), ("z",)):
        if names.issuperset(fields):
            return fields
    raise DataError(f"{where}: must hold mu and logvar, or z; it holds {sorted(names)}")


def check_steps(episode: Episode, where: str | Path) -> None:
    """Raise DataError for invalid actions, rewards or terminations; `where` begins its message."""
    missing = [name for name in STEP_FIELDS if name not in episode]
    if missing:
        raise DataError(f"{where}: lacks {', '.join(missing)}")
    for name in ("actions", "rewards"):
        if not np.issubdtype(episode[name].dtype, np.number):
            raise DataError(f"{where}: {name} must be numbers, not {episode[name].dtype}")
        if not np.isfinite(episode[name]).all():
            raise DataError(f"{where}: {name} holds NaN or infinity")
    if episode["actions"].ndim > 2:
        raise DataError(f"{where}: actions must be (T,) or (T, A), not {episode['actions'].shape}")
    for name in ("rewards", "terminated"):
        if episode[name].ndim != 1:
            raise DataError(f"{where}: {name} must be (T,), not {episode[name].shape}")
    if episode["terminated"][:-1].any():
        step = int(np.argmax(episode["terminated"]))
        raise DataError(f"{where}: terminated at step {step}, not the last; one episode per file")


def check_raw_episode(episode: Episode, where: str | Path) -> None:
    """Raise DataError for a raw episode that cannot be trained on."""
    if "frames" not in episode:
        raise DataError(f"{where}: lacks frames")
    check_steps(episode, where)
    frames = episode["frames"]
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise DataError(
            f"{where}: frames must be (T, H, W, 3) uint8, not {frames.shape} {frames.dtype}"
        )
    is_zero = all_zero_frames(frames)
    if is_zero.any():
        raise DataError(
            f"{where}: frame {int(np.argmax(is_zero))} of {len(frames)} is all zeros, which is"
            " allowed for the terminal observation at the end only"
        )


def check_latent_episode(episode: Episode, where: str | Path) -> None:
    """Raise DataError for a latent episode that cannot be trained on."""
    fields = latent_fields(set(episode), where)
    check_steps(episode, where)
    for name in fields:
        values = episode[name]
        if values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
            raise DataError(f"{where}: {name} must be (T, Z) floats, not {values.shape}")
        if values.shape != episode[fields[0]].shape:
            raise DataError(f"{where}: mu and logvar must have the same shape")
        if not np.isfinite(values).all():
            step = int(np.argmax(~np.isfinite(values).all(axis=1)))
            raise DataError(f"{where}: {name} holds NaN or infinity at step {step}")


def without_terminal_frame(episode: Episode) -> Episode:
    """Return `episode` without its last row if that row's frame is all zeros, else as it is.

    The new last row terminates if it or the dropped row did, because its action led to that frame.
    """
    if "frames" not in episode or len(episode["frames"]) < 2:
        return episode
    if not all_zero_frames(episode["frames"][-1:])[0]:
        return episode
    trimmed = {name: array[:-1] if array.ndim else array for name, array in episode.items()}
    if "terminated" in episode:
        terminated = episode["terminated"][:-1].astype(np.bool_)
        terminated[-1] |= bool(episode["terminated"][-1])
        trimmed["terminated"] = terminated
    return trimmed


def all_zero_frames(frames: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Return a mask (T,) of the all-zero `frames` (T, H, W, 3), i.e. terminal observations."""
    return np.logical_not(frames.any(axis=tuple(range(1, frames.ndim))))


@dataclass
class DatasetReport:
    """Statistics of a directory of episodes, and its unusable files in `problems`."""

    directory: Path
    lengths: list[int] = field(default_factory=list)  # steps of each valid episode
    deaths: int = 0  # episodes whose last step terminated
    terminal_frames: int = 0  # raw episodes whose last frame is all zeros; encoding drops it
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
        for name, values in episode.items():
            if np.issubdtype(values.dtype, np.number) and not np.isnan(values).all():
                low, high = float(np.nanmin(values)), float(np.nanmax(values))
                previous = self.ranges.get(name, (low, high))
                self.ranges[name] = (min(previous[0], low), max(previous[1], high))

    def __str__(self) -> str:
        lines = [f"{self.directory}: {len(self.lengths)} episodes, {sum(self.lengths)} steps"]
        if self.lengths:
            low, middle, high = min(self.lengths), np.median(self.lengths), max(self.lengths)
            lines.append(f"  length   {low} to {high}, median {middle:g}")
            lines.append(f"  deaths   {self.deaths}")
        if self.terminal_frames:
            lines.append(f"  {self.terminal_frames} end with an all-zero frame; encoding drops it")
        if self.actions:
            counts = ", ".join(f"{action}: {n}" for action, n in sorted(self.actions.items()))
            lines.append(f"  actions  {counts}")
        lines += [f"  {name:<10} {lo:.4g} to {hi:.4g}" for name, (lo, hi) in self.ranges.items()]
        lines += [f"  PROBLEM  {problem}" for problem in self.problems.values()]
        lines.append("  passed" if self.passed else f"  {len(self.problems)} unusable file(s)")
        return "\n".join(lines)


def validate_dataset(directory: str | Path) -> DatasetReport:
    """Read the episodes of `directory`, raw or latent, one at a time, and return a report.

    Invalid files are listed in `problems`, and so are files whose latent size or kind of actions
    differs from the first valid file's. Raises DataError only if `directory` has no episodes.
    """
    report = DatasetReport(Path(directory))
    form: tuple[object, ...] | None = None
    for path in episode_paths(directory):
        try:
            stored = load_episode(path)
            episode = without_terminal_frame(stored)
            check = check_raw_episode if "frames" in episode else check_latent_episode
            check(episode, path)
            form = _checked_form(form, episode, path)
        except DataError as error:
            report.problems[path.name] = str(error)
        else:
            report.add(episode)
            report.terminal_frames += episode is not stored
    return report


def _checked_form(
    form: tuple[object, ...] | None, episode: Episode, where: Path
) -> tuple[object, ...]:
    """Return the kind of actions and the arrays' shapes; DataError if they differ from `form`."""
    actions = episode["actions"]
    kind = "discrete" if np.issubdtype(actions.dtype, np.integer) else "continuous"
    shapes = {
        name: episode[name].shape[1:]
        for name in ("frames", "mu", "logvar", "z", "actions")
        if name in episode
    }
    found = (kind, *sorted(shapes.items()))
    if form is not None and found != form:
        raise DataError(f"{where}: arrays are {found}, but {form} in the files before")
    return found
