"""A check of the policy's graph."""

from collections.abc import Iterator

import numpy as np

from dreamserve.conformance.report import Finding
from dreamserve.conformance.subject import Subject


def policy(subject: Subject) -> Iterator[Finding]:
    """The policy's scores are finite, and its actions depend on the dream."""
    spec, rows = subject.spec, subject.rows
    if not spec.has_policy:
        return
    scores = subject.backend.policy(rows.latent, rows.state)
    if not np.isfinite(scores).all():
        yield Finding("policy: scores holds NaN or infinity in dreams; they must be finite")
        return
    actions = spec.action_space.from_scores(scores, np.ones(len(scores), np.bool_))
    if (actions == actions[0]).all():
        yield Finding(
            f"policy: takes the action {actions[0]} at all moments; it should depend on the dream",
            "warning",
        )
