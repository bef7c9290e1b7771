"""Check that an episode can be trained on.

`dreamserve_training.data.episodes` describes the arrays. A raw episode holds `frames` (T, H, W, C)
uint8 or `vectors` (T, n) floats; a latent episode holds `mu` and `logvar` (T, Z), or `z` (T, Z).
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dreamserve_training.data.episodes import (
    COLLECTED_FILE,
    DESCRIPTION_FILE,
    TAKEN_FILE,
    DataError,
    Episode,
    load_episode,
)
from dreamserve_training.data.numbers import check_flags, check_logvar, check_numbers

STEP_FIELDS = ("actions", "rewards", "terminated")
OBSERVATION_FIELDS = ("frames", "vectors")
MAX_CHANNELS = 4  # of frames
MAX_NUMBERS = 1024  # of a vector
DARK = 32  # of 255: below it, all frames are nearly alike to V, and what they show is lost
# Names and forms of other projects' data; `sources` reads them.
IMPORT_HINT = "`dreamserve-train import FOLDER OUT` converts other forms"


def latent_fields(names: set[str], where: object) -> tuple[str, ...]:
    """Return the latent fields in `names`: ("mu", "logvar") or ("z",); DataError if neither."""
    for fields in (("mu", "logvar"), ("z",)):
        if names.issuperset(fields):
            return fields
    raise DataError(f"{where}: must hold mu and logvar, or z; it holds {sorted(names)}")


def observation_field(episode: Episode, where: object) -> str:
    """Return the name of a raw episode's observations; DataError if it has none, or both."""
    found = [name for name in OBSERVATION_FIELDS if name in episode]
    if len(found) != 1:
        fault = "lacks frames (or vectors)" if not found else "holds frames and vectors"
        raise DataError(f"{where}: {fault}; it holds {sorted(episode)}; {IMPORT_HINT}")
    return found[0]


def check_steps(episode: Episode, where: object) -> None:
    """Raise DataError for invalid actions, rewards or terminations; `where` begins its message."""
    missing = [name for name in STEP_FIELDS if name not in episode]
    if missing:
        held = f"it holds {sorted(episode)}"
        raise DataError(f"{where}: lacks {', '.join(missing)}; {held}; {IMPORT_HINT}")
    _check_action_form(episode, where)
    if episode["rewards"].ndim != 1:
        raise DataError(f"{where}: rewards must be (T,), not {episode['rewards'].shape}")
    check_numbers(episode, "rewards", where)
    check_flags(episode, "terminated", where)
    if episode["terminated"][:-1].any():
        step = int(np.argmax(episode["terminated"]))
        raise DataError(f"{where}: terminated at step {step}, not the last; one episode per file")


def _check_action_form(episode: Episode, where: object) -> None:
    actions = episode["actions"]
    if actions.dtype.kind != "b":  # a MultiBinary action may be stored as booleans
        check_numbers(episode, "actions", where)
    if actions.ndim not in (1, 2):
        raise DataError(f"{where}: actions must be (T,) or (T, A), not {actions.shape}")
    if actions.ndim == 1 and actions.dtype.kind == "f":
        raise DataError(
            f"{where}: actions are (T,) floats; discrete actions are (T,) integers, continuous ones"
            " (T, A) floats: (T, 1) for one number"
        )


def check_raw_episode(episode: Episode, where: object) -> None:
    """Raise DataError for a raw episode that cannot be trained on."""
    name = observation_field(episode, where)
    check_steps(episode, where)
    if name == "frames":
        check_frame_form(episode["frames"].shape, episode["frames"].dtype, where)
        return
    vectors = episode["vectors"]
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise DataError(
            f"{where}: vectors must be (T, n) floats, not {vectors.shape} {vectors.dtype}"
        )
    check_numbers(episode, "vectors", where)


def check_frame_form(shape: tuple[int, ...], dtype: np.dtype[np.generic], where: object) -> None:
    """Raise DataError if frames of this shape and dtype are not (T, H, W, C) uint8."""
    if dtype == np.uint8 and len(shape) == 4 and 1 <= shape[3] <= MAX_CHANNELS:
        return
    raise DataError(
        f"{where}: frames must be (T, H, W, C) uint8 with C from 1 to {MAX_CHANNELS},"
        f" not {shape} {dtype}; {IMPORT_HINT}"
    )


def check_frames(frames: npt.NDArray[np.generic], where: object) -> npt.NDArray[np.uint8]:
    """Return `frames` as what they are; DataError if they are not (T, H, W, C) uint8."""
    check_frame_form(frames.shape, frames.dtype, where)
    return frames.astype(np.uint8, copy=False)


def darkness(brightest: float) -> str:
    """Return what is wrong with frames whose brightest number, of 255, is this; "" if nothing."""
    if brightest >= DARK:
        return ""
    return f"frames are at most {brightest:g} of 255: nearly black, so V loses what they show"


def check_latent_episode(episode: Episode, where: object) -> None:
    """Raise DataError for a latent episode that cannot be trained on."""
    fields = latent_fields(set(episode), where)
    check_steps(episode, where)
    for name in fields:
        values = episode[name]
        if values.ndim != 2 or values.dtype.kind != "f":
            raise DataError(f"{where}: {name} must be (T, Z) floats, not {values.shape}")
        if values.shape != episode[fields[0]].shape:
            raise DataError(f"{where}: mu and logvar must have the same shape")
        check_numbers(episode, name, where)
    if "logvar" in fields:
        check_logvar(episode, where)


def load_raw_episode(path: Path) -> tuple[Episode, bool]:
    """Return a valid raw episode without a terminal frame, and whether it had one; DataError."""
    stored = load_episode(path)
    check_raw_episode(stored, path)
    episode = stored if ends_acted_in(path) else without_terminal_frame(stored)
    return episode, episode is not stored


def load_frames(path: Path) -> npt.NDArray[np.uint8]:
    """Return the frames (T, H, W, C) of a raw episode without a terminal frame."""
    episode = load_episode(path, ("frames",))
    seen = episode if ends_acted_in(path) else without_terminal_frame(episode)
    return seen["frames"].astype(np.uint8, copy=False)


def ends_acted_in(path: Path) -> bool:
    """Return whether this project has written the episode `path`.

    Then its last row holds the last action and the observation in which it was taken, even if that
    is a black picture.
    """
    records = (COLLECTED_FILE, TAKEN_FILE, DESCRIPTION_FILE)
    return any((path.parent / name).exists() for name in records)


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
    """Return a mask (T,) of the all-zero `frames` (T, H, W, C).

    As an episode's last frame it is a terminal observation, which is no picture; elsewhere it is a
    black picture, such as a fade.
    """
    return np.logical_not(frames.any(axis=tuple(range(1, frames.ndim))))
