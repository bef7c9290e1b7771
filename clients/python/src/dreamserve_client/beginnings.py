"""Where dreams begin that no reset began: forks and restored sessions, as results of a reset."""

from collections.abc import Mapping
from typing import Any

from dreamserve_protocol.branches import ForkResult
from dreamserve_protocol.reset import ResetResult
from dreamserve_protocol.sessions import SessionResult
from dreamserve_protocol.wire import fields_of, read


def of_forks(forks: ForkResult) -> list[ResetResult]:
    """Return where each fork begins, with arrays of its own."""
    shared = fields_of(forks)
    pairs = zip(forks.session_ids, forks.seeds, strict=True)
    return [read(ResetResult, {**shared, "session_id": id_, "seed": seed}) for id_, seed in pairs]


def of_restored(restored: SessionResult, snapshot: Mapping[str, Any]) -> ResetResult:
    """Return where a restored dream goes on."""
    return read(ResetResult, {**fields_of(restored), "latent": snapshot["latent"]})
