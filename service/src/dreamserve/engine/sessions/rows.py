"""The layout of one session's row in a stored record (`stored`), by its world."""

from typing import Any

import numpy as np

from dreamserve.manifest import WorldSpec


def row_dtype(spec: WorldSpec) -> np.dtype[Any]:
    """Return the layout of a row, little-endian."""
    action = spec.action_space.zeros(1)
    state = [(f"state.{t.name}", "<f4", t.shape) for t in spec.recurrent_state]
    signals = [(f"signal.{signal.name}", "<f4") for signal in spec.signals]
    return np.dtype(
        [
            ("seed", "<u8"),
            ("step", "<i8"),
            ("began_at", "<i8"),
            ("max_steps", "<i8"),
            ("rewind_window", "<i8"),
            ("temperature", "<f4"),
            ("reward", "<f4"),
            ("terminated", "?"),
            ("action", action.dtype, action.shape[1:]),
            ("latent", "<f4", (spec.latent_size,)),
            *state,
            *signals,
        ]
    )
