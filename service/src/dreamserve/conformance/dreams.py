"""Checks of dreams from real moments under random actions."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dreamserve.backends.base import Array
from dreamserve.conformance.report import Finding
from dreamserve.conformance.subject import DREAMS, STEPS, Subject, named, random_actions
from dreamserve.spaces import DiscreteSpace

LATENT_BOUND = 1e3  # latents are of order 1; beyond it a dream has diverged
_FROM = "in dreams from the bank under random actions"


def finite_dreams(subject: Subject) -> Iterator[Finding]:
    """Every output is finite, at every step."""
    dreams, spec = subject.dreams, subject.spec
    steps = len(dreams.rewards)
    for name, values in named(spec, dreams.last).items():
        if not np.isfinite(values).all():
            yield Finding(
                f"step: {name} holds NaN or infinity at step {steps} {_FROM}; every output must be"
                " finite"
            )
    largest = max(dreams.largest)
    if largest > LATENT_BOUND:
        yield Finding(
            f"step: next_latent grows to {largest:.3g} within {steps} steps {_FROM};"
            " latents should be of order 1",
            "warning",
        )


def ends(subject: Subject) -> Iterator[Finding]:
    """Dreams end neither at once nor, if the world has ends, never."""
    dreams, rule = subject.dreams, subject.spec.done
    logits = np.stack(dreams.done_logits)
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
    rewards = np.stack(subject.dreams.rewards)
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
    for i, name in enumerate(signal.name for signal in subject.spec.signals):
        first = subject.dreams.signals[0][i][0]
        if all((values[i] == first).all() for values in subject.dreams.signals):
            yield Finding(
                f"step: {name} is {first:.6g} at every step {_FROM}; leave the signal out,"
                " or predict it",
                "warning",
            )


def actions(subject: Subject) -> Iterator[Finding]:
    """The step takes every action, and actions change what it predicts."""
    spec, rows = subject.spec, subject.beginnings
    space, rng = spec.action_space, np.random.default_rng(1)
    tried = [random_actions(spec, rng, len(rows.latent)) for _ in range(4)]
    shape = (len(rows.latent), *space.shape)
    tried += [space.uniform(np.full(shape, end, np.float32)) for end in (0.0, 1.0)]
    if isinstance(space, DiscreteSpace):
        tried = [np.full(len(rows.latent), action) for action in range(space.n)]
    first: tuple[Array, ...] = ()
    differs = False
    for action in tried:
        try:
            output = subject.backend.step(replace(rows, action=action))
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            line = (str(error).splitlines() or [type(error).__name__])[0]
            yield Finding(
                f"step: fails on action {action[0]}: {line}; it must take every action of {space}"
            )
            return
        for name, values in named(spec, output).items():
            if first and not np.isfinite(values).all():  # else it is not because of this action
                yield Finding(
                    f"step: {name} holds NaN or infinity after action {action[0]}; every action of"
                    f" {space}, its bounds included, must give finite outputs"
                )
                return
        result = output.arrays()
        first = first or result  # no others are kept: they may be large, and many
        differs = differs or not all(map(np.array_equal, result, first))
    if len(tried) > 1 and not differs:
        yield Finding("step: the action changes no output; a world should depend on it", "warning")
