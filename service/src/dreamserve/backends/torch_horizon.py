"""Planning on a torch device: all candidates' futures, over the whole horizon, in one recording.

What a future earns is `dreamserve.engine.futures.evaluate`'s to say, and is the same here: a step's
reward counts if the future lived before it, in float32 times the discount, summed in float64.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dreamserve.backends.base import Actions, Array, State, UInt64
from dreamserve.backends.check import input_shapes
from dreamserve.backends.torch_noise import Noise
from dreamserve.backends.torch_record import Parcel, Recorder, refused_if_full
from dreamserve.backends.torch_rows import Step, largest_magnitude
from dreamserve.manifest import WorldSpec
from dreamserve.spaces import DiscreteSpace

Values = npt.NDArray[np.float64]

# Candidates are filled up to one of these, and more than the last are evaluated by parts.
SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
# A recording holds its scratch memory for as long as it is kept.
KEPT = 8


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """The futures of one number of candidates, horizon, and way to share noise."""

    recorder: Recorder
    parcel: Parcel
    run: Callable[[], tuple[Tensor, ...]]  # the values (N,) float64


class Horizons:
    """The recordings for one world. `recorder` makes a recorder with a memory of its own."""

    def __init__(self, spec: WorldSpec, step: Step, recorder: Callable[[], Recorder]) -> None:
        self.spec, self._step, self._recorder = spec, step, recorder
        self._noise: Noise | None = None
        self.programs: OrderedDict[tuple[int, int, bool], Program] = OrderedDict()

    def returns(
        self,
        latent: Array,
        state: State,
        actions: Actions,
        keys: UInt64,
        temperature: float,
        discount: float,
    ) -> Values:
        """Return what N futures earn, as `KeepsRows.returns` says."""
        total, horizon = actions.shape[:2]
        shared = len(keys) == 1
        # The weights as evaluate makes them: one product a step.
        weights = np.multiply.accumulate(np.array([1.0] + [discount] * (horizon - 1)))
        values = np.empty(total)
        for first in range(0, total, SIZES[-1]):
            part = slice(first, min(first + SIZES[-1], total))
            count = part.stop - first
            program = self._program(SIZES[bisect_left(SIZES, count)], horizon, shared)
            host = program.parcel.host
            host["latent"][:], host["temperature"][:] = latent, temperature
            for tensor, rows in zip(self.spec.recurrent_state, state, strict=True):
                host[f"state.{tensor.name}"][:] = rows
            host["weights"][:] = weights
            host["actions"][:count] = actions[part]
            host["keys"][: 1 if shared else count] = (keys if shared else keys[part]).view(np.int64)
            with program.recorder.work():
                program.parcel.send()
                (earned,) = program.run()
                values[part] = earned[:count].cpu().numpy()
        return values

    def _program(self, size: int, horizon: int, shared: bool) -> Program:
        key = size, horizon, shared
        if key not in self.programs:
            if len(self.programs) == KEPT:
                self.programs.popitem(last=False)
            self.programs[key] = self._recorded(size, horizon, shared)
        self.programs.move_to_end(key)
        return self.programs[key]

    def _recorded(self, size: int, horizon: int, shared: bool) -> Program:
        recorder, spec = self._recorder(), self.spec
        discrete = isinstance(spec.action_space, DiscreteSpace)
        shape = input_shapes(spec)["step"]["action"]
        layout = {
            "latent": ((1, spec.latent_size), torch.float32),
            **{f"state.{t.name}": ((1, *t.shape), torch.float32) for t in spec.recurrent_state},
            "actions": ((size, horizon, *shape), torch.int64 if discrete else torch.float32),
            "keys": ((1 if shared else size, horizon), torch.int64),
            "temperature": ((1,), torch.float32),
            "weights": ((horizon,), torch.float32),
        }
        what = f"{size} futures of {horizon} steps"
        with recorder.work(), refused_if_full(what, recorder.device):
            if self._noise is None:
                self._noise = Noise(spec.noise.normal, spec.noise.uniform, recorder.device)
            noise = self._noise
            parcel = Parcel(layout, recorder.device)
            run = recorder.record(lambda: (self._dream(parcel.device, noise),))
        return Program(recorder, parcel, run)

    def _dream(self, given: dict[str, Tensor], noise: Noise) -> Tensor:
        """Return what each of the futures earns, (N,) float64."""
        actions = given["actions"].transpose(0, 1).contiguous()  # (H, N, …): a step's lie together
        horizon, size = actions.shape[:2]
        keys = given["keys"].transpose(0, 1)  # (H, 1 or N)
        drawn = noise.draw(keys.reshape(-1)).reshape(*keys.shape, -1)  # all steps' at once
        numbers = drawn.expand(horizon, size, -1).contiguous()
        temperature = given["temperature"].expand(size).contiguous()
        latent = _repeated(given["latent"], size)
        names = [tensor.name for tensor in self.spec.recurrent_state]
        state = [_repeated(given[f"state.{name}"], size) for name in names]
        rewards: list[Tensor] = []
        done_logits: list[Tensor] = []
        largest: list[Tensor] = []
        for t in range(horizon):
            latent, reward, done_logit, *rest = self._step(
                latent, actions[t], *state, temperature, numbers[t]
            )
            state = rest[: len(names)]
            rewards.append(reward)
            done_logits.append(done_logit)
            largest.extend(largest_magnitude(part) for part in (latent, *state))
        return earnings(
            torch.stack(rewards),
            torch.stack(done_logits),
            torch.stack(largest).reshape(horizon, -1, size),
            given["weights"],
            self.spec.done.threshold,
        )


def earnings(
    rewards: Tensor, done_logits: Tensor, largest: Tensor, weights: Tensor, threshold: float
) -> Tensor:
    """Return (N,) float64: the discounted sum of rewards while alive, -inf for a future lost.

    rewards and done_logits (H, N), largest (H, T, N): the largest magnitude of each tensor,
    weights (H,). Futures dream on after their end, but nothing of that is looked at: so a whole
    horizon is judged at once here, not step by step with five small kernels each.
    """
    # Zero times what is not finite is NaN, and NaN is not zero.
    finite = (largest * 0).sum(1) + rewards * 0 + done_logits * 0 == 0
    terminated = (done_logits > threshold).int()
    alive = terminated.cumsum(0) - terminated == 0  # before the step
    # masked_fill, not where: that may copy its scalar from the host, which no recording can
    earned = (rewards * weights.unsqueeze(1)).masked_fill(~alive, 0).double()
    lost = (alive & ~finite).any(0)
    total = earned.cumsum(0)[-1]  # in the order of the steps, as on the host
    return total.masked_fill(lost, float("-inf"))


def _repeated(row: Tensor, size: int) -> Tensor:
    return row.expand(size, *row.shape[1:]).contiguous()
