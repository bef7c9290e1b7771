"""Signals: numbers recorded with each step that M predicts beside the reward and the end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from dreamserve_training.data.episodes import DataError, Episode
from dreamserve_training.data.numbers import check_numbers
from dreamserve_training.models.signals import SignalHead
from dreamserve_training.runs.options import AboveZero, Options

Float32 = npt.NDArray[np.float32]
Form = Literal["level", "event", "falls", "rises"]

_EVENTS: Mapping[Form, tuple[str, Callable[[Float32, Float32], npt.NDArray[np.bool_]]]] = {
    "event": ("is not 0", lambda before, now: now != 0),
    "falls": ("falls", lambda before, now: now < before),
    "rises": ("rises", lambda before, now: now > before),
}


@dataclass(frozen=True)
class Signal(Options):
    """What M predicts of the recorded number `column`, which is the number after each step.

    level   the number itself, by its squared error
    event   the probability that it is not 0
    falls   the probability that it is below the number of the step before
    rises   the probability that it is above it

    A fall or rise in an episode's first step is not known, as no number is recorded before it.
    """

    column: str
    form: Form = "level"
    positive: AboveZero = 10.0  # weight of steps with the event, which is undone in what M says
    scale: AboveZero = 1.0  # of a level: about its deviation, so that its error is about 1
    description: str = ""  # for the manifest; default: what the form says

    def head(self) -> SignalHead:
        """Return the head of M that predicts it."""
        if self.form == "level":
            said = self.description or f"{self.column} after the step"
            return SignalHead("level", said, scale=self.scale)
        said = self.description or (
            f"probability that {self.column} {_EVENTS[self.form][0]} in the step"
        )
        return SignalHead("event", said, positive=self.positive)

    def values(self, episode: Episode) -> Float32:
        """Return its values (T,): the level, or 1 where the event is and 0 elsewhere; NaN: unknown.

        `episode` holds the recorded number (T,).
        """
        now = episode[self.column].astype(np.float32)
        if self.form == "level":
            return now
        before = np.concatenate([now[:1], now[:-1]])
        values: Float32 = _EVENTS[self.form][1](before, now).astype(np.float32)
        if self.form != "event":
            values[0] = np.nan
        return values


Signals = Mapping[str, Signal]


def signal_columns(signals: Signals) -> tuple[str, ...]:
    """Return the names of the recorded numbers that `signals` are made of."""
    return tuple(dict.fromkeys(signal.column for signal in signals.values()))


def signal_values(signals: Signals, episode: Episode, where: object) -> Float32:
    """Return the values (T, S ≥ 1) of `signals` in an episode; DataError for invalid numbers."""
    for column in signal_columns(signals):
        if episode[column].ndim != 1:
            raise DataError(f"{where}: {column} must be (T,), not {episode[column].shape}")
        check_numbers(episode, column, where)
    return np.stack([signal.values(episode) for signal in signals.values()], axis=1)


def check_recorded(signals: Signals, recorded: set[str], where: object) -> None:
    """Raise DataError if a signal's number is not among the `recorded` ones."""
    for name, signal in signals.items():
        if signal.column not in recorded:
            raise DataError(
                f"{where}: signal {name!r} needs {signal.column!r}, which is not recorded with each"
                f" step; recorded are {sorted(recorded)} (see `record` of a recipe)"
            )


assert set(_EVENTS) | {"level"} == set(get_args(Form))
