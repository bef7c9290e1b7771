"""Buffer that records N futures of H steps each."""

from collections.abc import Sequence

import numpy as np

from dreamserve.backends.base import Actions, Array, Bools
from dreamserve.backends.finite import finite_rows
from dreamserve.engine.dynamics import Work
from dreamserve.engine.imagination.trajectories import PolicyRunner, StepOutcome, Trajectories
from dreamserve.engine.pixels import Shown, to_pixels
from dreamserve.engine.shown import check_shown
from dreamserve.engine.world import World
from dreamserve.heads.choices import entropy
from dreamserve_protocol.errors import DreamNotFiniteError, NotFiniteInputError

_FRAMES_AT_ONCE = 8
_NUMBERS_AT_ONCE = 16_384  # that entropies compare: bounds the time of one estimate


class TrajectoryBuffer:
    """Arrays (N, H, …), written for a slice of the futures and one step at a time.

    `include` may hold "frames" or "vectors", "mixture" and "entropy"; arrays not included are None.
    `what` names the futures in error messages.
    """

    def __init__(
        self, world: World, count: int, horizon: int, include: Sequence[str], what: str = "future"
    ) -> None:
        self._world, self._what, leading = world, what, (count, horizon)
        spec, self._head = world.spec, world.spec.head
        self.latents = np.empty((*leading, spec.latent_size), np.float32)
        self.rewards = np.empty(leading, np.float32)
        self.terminated = np.empty(leading, np.bool_)
        self._shown: Shown | None = None  # the frames or vectors, if included
        if check_shown(world, include):
            seen = spec.observation
            self._shown = np.empty((*leading, *seen.shape), seen.dtype)
        self.mixture: dict[str, Array] | None = None
        if "mixture" in include:
            self.mixture = {
                name: np.zeros((*leading, *shape), np.float32)
                for name, shape in spec.mixture_shapes().items()
            }
        self.signals: dict[str, Array] | None = None
        if "signals" in include:
            self.signals = spec.named_signals(np.zeros(leading, np.float32) for _ in spec.signals)
        self.entropy: Array | None = None
        self.differential_entropy: Array | None = None
        if "entropy" in include:
            self.entropy = np.zeros(leading, np.float32)
            if spec.head.has_density:
                self.differential_entropy = np.zeros(leading, np.float32)

    def follow(
        self,
        futures: Trajectories,
        first: int,
        actions: Actions,
        begin: int = 0,
        runner: PolicyRunner | None = None,
    ) -> Work[None]:
        """Advance B futures, numbered from `first`, by actions (H, …), and record them.

        Starts at step `begin`. A runner chooses each future's actions instead; those of future 0
        are written to `actions`. Raises DreamNotFiniteError, and NotFiniteInputError if a policy's
        scores are NaN or infinite.
        """
        for t in range(begin, len(actions)):
            action: Actions = np.broadcast_to(actions[t], (len(futures), *actions.shape[1:]))
            if runner is not None:
                action, valid = runner.act(futures)
                if not first:
                    actions[t] = action[0]
                valid = valid | ~futures.alive
                if not valid.all():
                    future = first + int(np.argmin(valid))
                    raise NotFiniteInputError(
                        f"policy: its scores are NaN or infinity at step {t + 1} of future {future}"
                    )
            outcome = yield from futures.advance(action)
            assert outcome is not None  # there is no deadline
            yield from self.write(first, t, outcome)

    def write(self, first: int, t: int, outcome: StepOutcome) -> Work[None]:
        """Record step `t` of futures numbered from `first`. Raises DreamNotFiniteError."""
        rows = slice(first, first + len(outcome.latent))
        if not outcome.finite.all():
            raise self._not_finite(first + int(np.argmin(outcome.finite)), t)
        self.latents[rows, t], self.rewards[rows, t] = outcome.latent, outcome.reward
        self.terminated[rows, t] = outcome.ended
        if self.signals is not None:
            for column, part in zip(self.signals.values(), outcome.output.signals, strict=True):
                column[rows, t] = np.where(outcome.alive, part, 0)
        if self.mixture is not None:
            self._write_mixture(self.mixture, first, t, outcome)
        if self.entropy is not None:
            yield from self._write_entropies(first, t, outcome)
        if self._shown is not None:
            self._shown[rows, t] = yield from self._decode(outcome.latent)

    def shown(self, row: int | None = None) -> dict[str, Shown]:
        """Return the decoded frames or vectors, by their field, of all futures or of one."""
        if self._shown is None:
            return {}
        field = f"{self._world.spec.observation.field}s"
        return {field: self._shown if row is None else self._shown[row]}

    def _write_mixture(
        self, mixture: dict[str, Array], first: int, t: int, outcome: StepOutcome
    ) -> None:
        parts = self._head.parameters(outcome.output.head)
        self._check(outcome.alive, first, t, *parts.values())
        alive = np.flatnonzero(outcome.alive)  # ended futures have no mixture
        for name, part in parts.items():
            mixture[name][first + alive, t] = part[alive]

    def _write_entropies(self, first: int, t: int, outcome: StepOutcome) -> Work[None]:
        count, head = len(outcome.latent), self._head
        at_once = max(1, _NUMBERS_AT_ONCE // head.entropy_size(self._world.spec.latent_size))
        for begin in range(0, count, at_once):
            part = slice(begin, min(begin + at_once, count))
            outputs = tuple(array[part] for array in outcome.output.head)
            found = [(self.entropy, entropy(head.logits(outputs)))]
            if self.differential_entropy is not None:
                found.append((self.differential_entropy, head.differential_entropy(outputs)))
            alive = outcome.alive[part]
            self._check(alive, first + begin, t, *(numbers for _, numbers in found))
            for column, numbers in found:
                if column is not None:
                    column[first + begin : first + part.stop, t] = np.where(alive, numbers, 0)
            if part.stop < count:
                yield None

    def _check(self, alive: Bools, first: int, t: int, *parts: Array) -> None:
        is_finite = finite_rows(*parts) | ~alive
        if not is_finite.all():
            raise self._not_finite(first + int(np.argmin(is_finite)), t, "'s mixture")

    def _not_finite(self, future: int, t: int, part: str = "") -> DreamNotFiniteError:
        return DreamNotFiniteError(
            f"{self._what} {future}{part} is NaN or infinity at its step {t + 1}"
        )

    def _decode(self, latent: Array) -> Work[Shown]:
        """Return the frames or vectors of latent (B, Z), decoded a few at a time."""
        parts, seen = [], self._world.spec.observation
        for first in range(0, len(latent), _FRAMES_AT_ONCE):
            decoded = self._world.backend.decode(latent[first : first + _FRAMES_AT_ONCE])
            if not finite_rows(decoded).all():
                raise DreamNotFiniteError(f"a future's {seen.field} is NaN or infinity")
            parts.append(to_pixels(seen, decoded))
            yield None
        return np.concatenate(parts)
