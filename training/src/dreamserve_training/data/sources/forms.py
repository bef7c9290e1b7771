"""One episode in the forms that other projects store, as this project's.

Understood: Gymnasium's and D4RL's names, T + 1 observations, float frames in [0, 1], gray frames
without an axis of channels, channels first, numbers with a needless last axis.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve_training.data.actions import as_actions
from dreamserve_training.data.checks import MAX_CHANNELS, MAX_NUMBERS
from dreamserve_training.data.episodes import DataError, Episode
from dreamserve_training.data.numbers import check_flags, check_numbers

Values = npt.NDArray[Any]

NAMES = {
    "observations": ("frames", "vectors", "observations", "obs"),
    "actions": ("actions",),
    "rewards": ("rewards",),
    "terminated": ("terminated", "terminations", "terminals"),
    "truncated": ("truncated", "truncations", "timeouts"),
}
REQUIRED = ("observations", "actions", "rewards", "terminated")


def canonical_names(names: Mapping[str, Any], where: object) -> dict[str, str]:
    """Return, for each of NAMES that is there, its name in `names`.

    Raises DataError for a missing or an ambiguous one, and says what would be right.
    """
    found: dict[str, str] = {}
    for name, aliases in NAMES.items():
        held = [alias for alias in aliases if alias in names]
        if len(held) > 1:
            raise DataError(f"{where}: holds {' and '.join(held)}; remove all but one")
        if held:
            found[name] = held[0]
    if missing := [" or ".join(NAMES[name]) for name in REQUIRED if name not in found]:
        hint = ""
        if "terminated" not in found and {"dones", "done"}.intersection(names):
            hint = "; dones mix ends with time limits: store terminations and truncations"
        if "action" in names:
            hint = (
                "; `action` may be the one before its observation, as in Dreamer's files: store"
                " `actions[t]`, taken in `observations[t]`"
            )
        raise DataError(f"{where}: lacks {'; '.join(missing)}; it holds {sorted(names)}{hint}")
    return found


def to_episode(parts: Mapping[str, Values], where: object) -> Episode:
    """Return the arrays `parts`, by the keys of NAMES, as an episode of T steps.

    T + 1 observations lose the last, in which no action was taken. Raises DataError for arrays that
    are not understood; the result is not yet checked as `check_raw_episode` does.
    """
    check_rows(parts, where)
    rewards = without_last_axis(parts["rewards"])
    rewards = rewards.astype(np.float32) if rewards.dtype.kind == "b" else rewards
    check_numbers({"rewards": rewards}, "rewards", where)
    flags = {"terminated": without_last_axis(parts["terminated"])}
    check_flags(flags, "terminated", where)
    return {
        **to_observations(parts["observations"][: len(rewards)], where),
        "actions": to_actions(parts["actions"], where),
        "rewards": rewards.astype(np.float32),
        "terminated": flags["terminated"].astype(np.bool_),
    }


def check_rows(arrays: Mapping[str, Any], where: object) -> None:
    """Raise DataError if the arrays, by the keys of NAMES, have not T rows or are empty."""
    if single := sorted(name for name, array in arrays.items() if not array.shape):
        raise DataError(f"{where}: {', '.join(single)}: one number, not an array (T, …)")
    lengths = {name: array.shape[0] for name, array in arrays.items()}
    steps = lengths["rewards"]
    expected = {**dict.fromkeys(lengths, steps), "observations": lengths["observations"]}
    if lengths != expected or lengths["observations"] not in (steps, steps + 1) or steps == 0:
        raise DataError(
            f"{where}: T actions need T rewards and ends and T or T + 1 observations,"
            f" not {dict(lengths)}"
        )


def to_actions(actions: Values, where: object) -> Values:
    """Return actions as int64 (T,) or (T, A), or float32 (T, A)."""
    if actions.dtype.kind != "b":
        check_numbers({"actions": actions}, "actions", where)
    if actions.dtype.kind == "f":
        return as_actions(actions[:, None] if actions.ndim == 1 else actions)
    return as_actions(without_last_axis(actions))


def to_observations(observations: Values, where: object) -> Episode:
    """Return `frames` (T, H, W, C) uint8 or `vectors` (T, n) float32; DataError if neither."""
    if observations.dtype.kind not in "iuf":
        raise DataError(f"{where}: observations must be numbers, not {observations.dtype}")
    if observations.ndim == 1 and observations.dtype.kind == "f":
        observations = observations[:, None]
    if observations.ndim == 2:
        if not 1 <= observations.shape[1] <= MAX_NUMBERS:
            raise DataError(
                f"{where}: observations {observations.shape} are vectors of"
                f" {observations.shape[1]} numbers; a world takes 1 to {MAX_NUMBERS}"
            )
        check_numbers({"vectors": observations}, "vectors", where)
        return {"vectors": observations.astype(np.float32)}
    if observations.ndim == 1:
        raise DataError(f"{where}: observations (T,) are integers; store them one-hot, as (T, n)")
    frames = observations[..., None] if observations.ndim == 3 else observations
    if frames.ndim == 4 and frames.shape[1] <= MAX_CHANNELS < frames.shape[3]:
        frames = np.moveaxis(frames, 1, 3)
    if frames.ndim != 4 or frames.shape[3] > MAX_CHANNELS or 0 in frames.shape:
        raise DataError(
            f"{where}: observations {observations.shape} are no vectors (T, n) and no frames"
            f" (T, H, W, C) of up to {MAX_CHANNELS} channels; of stacked frames, keep the last ones"
        )
    return {"frames": to_bytes(frames, where)}


def to_bytes(frames: Values, where: object) -> npt.NDArray[np.uint8]:
    """Return `frames` as uint8: floats in [0, 1] scaled by 255, integers in 0 … 255 as they are."""
    if frames.dtype == np.uint8:
        return np.ascontiguousarray(frames)
    largest = 1 if frames.dtype.kind == "f" else 255
    low, high = frames.min(), frames.max()
    if not (low >= 0 and high <= largest):  # false for NaN, too
        raise DataError(
            f"{where}: {frames.dtype} frames must be within 0 and {largest}, not {low:g} to"
            f" {high:g}; store them as uint8"
        )
    scaled = np.round(frames * 255) if frames.dtype.kind == "f" else frames
    return scaled.astype(np.uint8)


def without_last_axis(values: Values) -> Values:
    """Return (T, 1) as (T,), everything else as it is."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
