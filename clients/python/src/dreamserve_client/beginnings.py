"""Forks and restored sessions as results of /reset, the first state of a dream object."""

from collections.abc import Mapping
from typing import Any

from dreamserve_protocol.branches import ForkResult
from dreamserve_protocol.reset import ResetResult
from dreamserve_protocol.sessions import SessionResult
from dreamserve_protocol.wire import fields_of, read


def of_forks(forks: ForkResult) -> list[ResetResult]:
    """Return the first state of each fork, with its own arrays, or its own PNG file."""
    shared = fields_of(forks)
    pairs = zip(forks.session_ids, forks.seeds, strict=True)
    each = [{**shared, "session_id": id_, "seed": seed} for id_, seed in pairs]
    return [read(ResetResult, fields, keep_png=True) for fields in each]


def of_restored(restored: SessionResult, snapshot: Mapping[str, Any]) -> ResetResult:
    """Return the first state of a restored dream."""
    return read(ResetResult, {**fields_of(restored), "latent": snapshot["latent"]})
