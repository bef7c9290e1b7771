"""What a batch shows of its sessions, in columns: latents and, if included, frames and state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from dreamserve.backends.base import Array, Int64
from dreamserve.backends.finite import finite_rows
from dreamserve.engine.dynamics import Size
from dreamserve.engine.handlers.rows import RowErrors, size_of_rows
from dreamserve.engine.limits import Limits
from dreamserve.engine.pixels import Shown, to_pixels
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.world import World
from dreamserve.manifest import WorldSpec
from dreamserve.observations import bytes_of
from dreamserve_protocol.batches import FinalRows
from dreamserve_protocol.errors import DreamNotFiniteError
from dreamserve_protocol.step import StepResult

# Decoding a frame takes many times as long as a step: small slices let other requests through.
FRAMES_AT_ONCE = 8


def batch_size(limits: Limits, spec: WorldSpec, count: int, include: Sequence[str]) -> Size:
    """Return the size of a batch of `count` rows. Raises TooLargeError."""
    decoded = spec.observation.field in include
    row_bytes = 4 * spec.latent_size + bytes_of(spec.observation) * decoded
    row_bytes += spec.state_bytes() * ("state" in include)
    row_bytes += 4 * len(spec.signals) * ("signals" in include)
    return size_of_rows(limits, count, row_bytes)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Rows of zeros, to be written."""

    world: World
    latents: Array  # (B, Z)
    shown: Shown | None  # (B, *shape) frames or vectors
    state: dict[str, Array] | None  # (B, *shape) each
    signals: dict[str, Array] | None = None  # (B,) each

    @classmethod
    def of(cls, world: World, count: int, include: Sequence[str]) -> "Columns":
        """Return columns of `count` rows with what is included."""
        spec, seen = world.spec, world.spec.observation
        state = {
            tensor.name: np.zeros((count, *tensor.shape), np.float32)
            for tensor in spec.recurrent_state
        }
        return cls(
            world,
            np.zeros((count, spec.latent_size), np.float32),
            np.zeros((count, *seen.shape), seen.dtype) if seen.field in include else None,
            state if "state" in include else None,
            spec.named_signals(np.zeros(count, np.float32) for _ in spec.signals)
            if "signals" in include
            else None,
        )

    def write(self, rows: slice | Int64, latent: Array, state: Sequence[Array]) -> None:
        """Write latents (B, Z) and, if included, state (B, *shape) each to these rows."""
        self.latents[rows] = latent
        if self.state is not None:
            for column, part in zip(self.state.values(), state, strict=True):
                column[rows] = part

    def decode(self, rows: Int64, errors: RowErrors) -> None:
        """Write what these rows' latents show, if included; note those that are not finite."""
        if self.shown is None or not len(rows):
            return
        spec, decoded = self.world.spec.observation, self.world.backend.decode(self.latents[rows])
        is_finite = finite_rows(decoded)
        self.shown[rows[is_finite]] = to_pixels(spec, decoded[is_finite])
        for i in rows[~is_finite].tolist():
            errors[i] = DreamNotFiniteError(f"the {spec.field} is NaN or infinity")

    def decoded(self) -> dict[str, Shown]:
        """Return the frames or vectors by their field, if included."""
        spec = self.world.spec.observation
        return {} if self.shown is None else {f"{spec.field}s": self.shown}


def rows_at_once(batch_rows: int, has_frames: bool) -> int:
    """Return how many rows of a batch are computed before other requests have their turn."""
    return min(batch_rows, FRAMES_AT_ONCE) if has_frames else batch_rows


class Final:
    """The ends of the dreams that a batch has restarted."""

    def __init__(self, world: World, include: Sequence[str]) -> None:
        self._world, self._include = world, include
        # row, end, seed, and its frame or vector
        self._ends: list[tuple[int, StepResult, int, Shown | None]] = []
        self._seen = world.spec.observation
        self._decodes = self._seen.field in include

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, restarted: Mapping[int, Session]) -> None:
        """Add the ends of the dreams before these sessions' present ones, by row."""
        ends = [session.last_result() for session in restarted.values()]
        shown: Sequence[Shown | None] = [None] * len(ends)
        if self._decodes:  # finite: they were decoded before the steps were taken
            decoded = self._world.backend.decode(np.stack([end.latent for end in ends]))
            shown = list(to_pixels(self._seen, decoded))
        seeds = [session.seed for session in restarted.values()]
        self._ends.extend(zip(restarted, ends, seeds, shown, strict=True))

    def rows(self) -> FinalRows:
        """Return them in columns, in the order of the batch; there must be some."""
        rows, ends, seeds, shown = zip(*sorted(self._ends, key=itemgetter(0)), strict=True)
        names = [tensor.name for tensor in self._world.spec.recurrent_state]
        states = {name: np.stack([end.state[name] for end in ends]) for name in names}
        decoded: Any = {f"{self._seen.field}s": np.stack(shown)} if self._decodes else {}
        return FinalRows(
            rows=np.array(rows),
            latents=np.stack([end.latent for end in ends]),
            seeds=np.array(seeds),
            state=states if "state" in self._include else None,
            **decoded,
        )
