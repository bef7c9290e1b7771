"""Checks of dreams from real moments under random actions."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dreamserve.conformance.report import Finding
from dreamserve.conformance.subject import DREAMS, STEPS, Subject, named, random_actions
from dreamserve.spaces import DiscreteSpace

LATENT_BOUND = 1e3  # latents are of order 1; beyond it a dream has diverged
_FROM = "in dreams from the bank under random actions"


def finite_dreams(subject: Subject) -> Iterator[Finding]:
    """Every output is finite, at every step."""
    dreams, spec = subject.dreams, subject.spec
    for name, values in named(spec, dreams.outputs[-1]).items():
        if not np.isfinite(values).all():
            step = len(dreams.outputs)
            yield Finding(
                f"step: {name} holds NaN or infinity at step {step} {_FROM}; every output must be"
                " finite"
            )
    largest = max(float(np.abs(output.latent).max()) for output in dreams.outputs)
    if largest > LATENT_BOUND:
        yield Finding(
            f"step: next_latent grows to {largest:.3g} within {len(dreams.outputs)} steps {_FROM};"
            " latents should be of order 1",
            "warning",
        )


def ends(subject: Subject) -> Iterator[Finding]:
    """Dreams end neither at once nor, if the world has ends, never."""
    dreams, rule = subject.dreams, subject.spec.done
    logits = np.stack([output.done_logit for output in dreams.outputs])
    if logits.min() >= 0 and logits.max() <= 1:
        yield Finding(
            f"step: done_logit is within [{logits.min():.3g}, {logits.max():.3g}] {_FROM}, as"
            " probabilities are; return logits, which are negative where an end is unlikely"
        )
    elif dreams.ends[0] == DREAMS:
        how = "drawn with the probability sigmoid(done_logit)"
        if rule.rule == "threshold":
            how = f"above the manifest's threshold, {rule.threshold:g}"
        yield Finding(
            f"step: done_logit ends every dream at its first step (lowest {logits[0].min():.3g});"
            f" an end is {how}, so it should be lower while the dream goes on"
        )
    elif not any(dreams.ends) and np.ptp(logits) > 0:
        yield Finding(
            f"step: done_logit ends no dream within {STEPS} steps {_FROM} (highest"
            f" {logits.max():.3g}); a world that never ends returns one large negative number",
            "warning",
        )


def reward(subject: Subject) -> Iterator[Finding]:
    """A constant reward is the manifest's; a predicted one, and signals, vary."""
    rewards = np.stack([output.reward for output in subject.dreams.outputs])
    rule = subject.spec.reward
    if rule.value is not None:
        wrong = rewards[rewards != np.float32(rule.value)]
        if wrong.size:
            yield Finding(
                f"step: reward is {wrong[0]:.6g}, the manifest says constant {rule.value:g}; return"
                " it at every step, or declare reward kind head"
            )
    elif np.ptp(rewards) == 0:
        yield Finding(
            f"step: reward is {rewards.flat[0]:.6g} at every step {_FROM}; declare a constant"
            " reward, or predict it",
            "warning",
        )
    first = named(subject.spec, subject.dreams.outputs[0])
    for name in (signal.name for signal in subject.spec.signals):
        outputs = (named(subject.spec, output)[name] for output in subject.dreams.outputs)
        if all((values == first[name][0]).all() for values in outputs):
            yield Finding(
                f"step: {name} is {first[name][0]:.6g} at every step {_FROM}; leave the signal out,"
                " or predict it",
                "warning",
            )


def actions(subject: Subject) -> Iterator[Finding]:
    """The step takes every action, and actions change what it predicts."""
    spec, rows = subject.spec, subject.beginnings
    space, rng = spec.action_space, np.random.default_rng(1)
    tried = [random_actions(spec, rng, len(rows.latent)) for _ in range(4)]
    if isinstance(space, DiscreteSpace):
        tried = [np.full(len(rows.latent), action) for action in range(space.n)]
    results = []
    for action in tried:
        try:
            results.append(subject.backend.step(replace(rows, action=action)).arrays())
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            line = (str(error).splitlines() or [type(error).__name__])[0]
            yield Finding(
                f"step: fails on action {action[0]}: {line}; it must take every action of {space}"
            )
            return
    if len(tried) > 1 and all(
        np.array_equal(one, first)
        for result in results
        for one, first in zip(result, results[0], strict=True)
    ):
        yield Finding("step: the action changes no output; a world should depend on it", "warning")
