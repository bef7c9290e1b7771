"""A check of the policy that a bundle brings: a graph, or a linear controller."""

from collections.abc import Iterator

import numpy as np

from dreamserve.backends.base import Array
from dreamserve.bundle import Arrays
from dreamserve.conformance.report import Finding
from dreamserve.conformance.subject import Subject
from dreamserve.engine.imagination.policy_runners import linear_scores


def policy(subject: Subject) -> Iterator[Finding]:
    """The policy's scores are finite, and its actions depend on the dream."""
    spec, rows = subject.spec, subject.rows
    if spec.has_policy:
        where, scores = "policy", subject.backend.policy(rows.latent, rows.state)
    elif subject.controller is not None:
        where, scores = "controller", _linear(subject, subject.controller)
    else:
        return
    if not np.isfinite(scores).all():
        yield Finding(f"{where}: scores holds NaN or infinity in dreams; they must be finite")
        return
    actions = spec.action_space.from_scores(scores, np.ones(len(scores), np.bool_))
    if (actions == actions[0]).all():
        yield Finding(
            f"{where}: takes the action {actions[0]} at all moments; it should depend on the dream",
            "warning",
        )


def _linear(subject: Subject, controller: Arrays) -> Array:
    """Return the scores (B, width) of a bundle's controller, as `/rollout` computes them."""
    rows = subject.rows
    tensors = {"latent": rows.latent, **subject.spec.named_state(rows.state)}
    parts = [tensors[name].reshape(len(rows.latent), -1) for name in subject.inputs]
    features = np.concatenate(parts, axis=1)
    weights, bias = controller["weights"], controller["bias"]
    with np.errstate(over="ignore", invalid="ignore"):  # which is told
        return linear_scores(
            features,
            np.broadcast_to(weights, (len(features), *weights.shape)),
            np.broadcast_to(bias, (len(features), *bias.shape)),
        )
