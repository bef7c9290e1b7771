"""All that a session is, as one value: what forks share, rewinds go back to, snapshots hold."""

from dataclasses import dataclass
from typing import Any

from dreamserve.backends.base import Array, State


@dataclass(frozen=True, slots=True, eq=False)
class SessionRecord:
    """A session after one of its steps. Its arrays are nobody else's to write to."""

    latent: Array  # (1, Z)
    state: State  # (1, *shape) each
    seed: int
    step: int
    temperature: float
    terminated: bool
    action: Any  # of the last step, as the slab keeps it; zero before the first
    reward: float  # of the last step, a float32; zero before the first
    last_answer: Any  # the last step's result (`slab.LastAnswer`), if it says more than this
    last_plan: Any = None  # `slab.LastPlan`
    rewind_window: int = 0  # steps that it can be rewound by
