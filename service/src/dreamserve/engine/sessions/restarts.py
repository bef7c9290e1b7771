"""Restarts: a dream that has ended is replaced by a new one in the same session.

The new dream is that of /reset with the next seed, without a start. The session's step numbers
continue, so each number is unique and a step that is sent again can be told from the next one.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import UInt64
from dreamserve.engine.dynamics import start_from_bank
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.sessions.slab import NO_EXTRAS, LastAnswer

SEED_BITS = 53  # integers of this many bits are exact as JSON numbers


def next_seeds(seeds: UInt64) -> UInt64:
    """Return the seeds (B,) of the dreams that follow the dreams with `seeds` (B,)."""
    keys = noise.keys(seeds, np.zeros(len(seeds), np.int64), noise.RESTART)
    return keys >> np.uint64(64 - SEED_BITS)


def restart(sessions: Sequence[Session]) -> None:
    """Begin the next dream in each of these sessions of one world, whose dreams have just ended.

    The result of the step that ended the dream is stored with its last state, in case it is sent
    again.
    """
    slab, slots = sessions[0].slab, np.array([session.slot for session in sessions])
    for session in sessions:
        last = session.last_answer
        named = slab.world.spec.named_state(part[0] for part in session.row()[1])
        result = replace(session.last_result(), state=named)
        content = NO_EXTRAS if last is None else last.content
        session.keep_answer(LastAnswer(result, content, restarted=True))
    seeds = next_seeds(slab.seed[slots])
    latent, state = start_from_bank(slab.world, seeds)
    slab.begin(slots, latent, state, seeds, at=slab.step[slots])
