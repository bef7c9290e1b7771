"""Checks of `encode` and `decode`, and of the bank."""

from collections.abc import Iterator, Sequence

import numpy as np

from dreamserve.backends.base import Array, State
from dreamserve.conformance.classes import are_probabilities
from dreamserve.conformance.report import Finding
from dreamserve.conformance.subject import Subject
from dreamserve.observations import FrameSpec

PICTURES = 16
_EPSILON = 1e-4  # of the value range
_WIDEST = 10.0  # of a posterior's log variance: sigma is 150


def seen(subject: Subject) -> tuple[Array, State]:
    """Return observations, and the recurrent tensors that `encode` takes beside them.

    A bundle has no real observations: they are decoded from the bank, or random.
    """
    spec, index = subject.spec, subject.moments[:PICTURES]
    state = subject.state(index) if spec.encode_memory else ()
    if spec.has_decode:
        return subject.backend.decode(spec.head.mode(subject.posterior(index))), state
    rng, shape = np.random.default_rng(3), (len(index), *spec.observation.shape)
    if isinstance(spec.observation, FrameSpec):
        return rng.uniform(*spec.observation.value_range, shape).astype(np.float32), state
    return rng.standard_normal(shape, np.float32), state


def bank(subject: Subject) -> Iterator[Finding]:
    """The bank's moments differ."""
    names = tuple(subject.spec.head.posterior(subject.spec.latent_size))
    first = subject.bank[names[0]]
    if len(first) == 1:
        yield Finding("bank: has one moment; give many, from real episodes", "warning")
    if probabilities := are_probabilities(
        subject.spec.head, [subject.bank[name] for name in names]
    ):
        yield Finding(f"bank: {probabilities}")
    if len(first) > 1 and all(
        (subject.bank[name] == subject.bank[name][:1]).all() for name in subject.bank
    ):
        yield Finding(f"bank: all {len(first)} moments are equal; real ones differ")
    if "logvar" in names and (widest := float(subject.bank["logvar"].max())) > _WIDEST:
        row = int(subject.bank["logvar"].max(axis=1).argmax())
        yield Finding(
            f"bank: logvar is {widest:.3g} in moment {row}, a sigma of {np.exp(widest / 2):.3g};"
            " it is the logarithm of the variance, which should be of order 1 or less"
        )


def decoded(subject: Subject) -> Iterator[Finding]:
    """What `decode` returns is finite and in the value range, and varies."""
    spec = subject.spec
    if not spec.has_decode:
        return
    name = f"{spec.observation.field}s"
    shown = np.concatenate([seen(subject)[0], subject.backend.decode(subject.rows.latent)])
    if not np.isfinite(shown).all():
        yield Finding(f"decode: {name} holds NaN or infinity in dreams; they must be finite")
        return
    if isinstance(spec.observation, FrameSpec):
        low, high = spec.observation.value_range
        slack = _EPSILON * (high - low)
        if shown.min() < low - slack or shown.max() > high + slack:
            yield Finding(
                f"decode: {name} are within [{shown.min():.4g}, {shown.max():.4g}] in dreams; the"
                f" manifest's value_range is [{low:g}, {high:g}]"
            )
    if len(shown) > 1 and np.ptp(shown, axis=0).max() == 0:
        yield Finding(f"decode: {name} are the same whatever the latent", "warning")


def reconstruction(subject: Subject) -> Iterator[Finding]:
    """Encoding and decoding keeps more of the bank's pictures than their average does."""
    spec, backend = subject.spec, subject.backend
    shown, state = seen(subject)
    if not np.isfinite(shown).all():  # which `decoded` tells
        return
    posterior = backend.encode(shown, state)
    for name, values in zip(spec.graph_outputs()["encode"], posterior, strict=True):
        if not np.isfinite(values).all():
            yield Finding(f"encode: {name} holds NaN or infinity; it must be finite")
            return
    if len(shown) < 2:
        return
    yield from _ignored_memory(subject, shown, state, posterior)
    if np.ptp(shown, axis=0).max() > 0 and all(np.ptp(p, axis=0).max() == 0 for p in posterior):
        yield Finding("encode: the posterior is the same whatever it sees", "warning")
    if not spec.has_decode:
        return
    again = backend.decode(spec.head.mode(posterior))
    error = float(np.square(again - shown).mean())
    average = float(np.square(shown.mean(axis=0) - shown).mean())
    if error > average > 0:
        yield Finding(
            f"encode, decode: {spec.observation.field}s that were decoded from the bank come back"
            f" with a mean squared error of {error:.3g}, those of their average are {average:.3g};"
            " are the value range, the order of axes and of colours the same in both?",
            "warning",
        )


def _ignored_memory(
    subject: Subject, shown: Array, state: State, posterior: Sequence[Array]
) -> Iterator[Finding]:
    """Each recurrent tensor that `encode` takes changes what it returns."""
    for i, part in enumerate(state):
        other = (*state[:i], part + 1, *state[i + 1 :])
        if all(map(np.array_equal, subject.backend.encode(shown, other), posterior)):
            name = subject.spec.recurrent_state[i].name
            yield Finding(
                f"encode: ignores {name}; without any memory, encode_memory is false", "warning"
            )
