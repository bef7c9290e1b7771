"""Checks of how a step draws the next latent: from its noise, at its temperature."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dreamserve.backends.accuracy import drawn_choices
from dreamserve.backends.base import Array, Int64, StepInput, StepOutput
from dreamserve.conformance.classes import are_probabilities, one_hot_problem
from dreamserve.conformance.report import Finding
from dreamserve.conformance.subject import Subject, at, named, other_noise, taken
from dreamserve.heads import Categorical, Deterministic, GaussianMixture
from dreamserve.manifest import WorldSpec

DRAWS = 4096
_DRAWN_AT_ONCE = 256  # of which every world was tried
TEMPERATURES = (1.0, 0.5)
STANDARD_ERRORS = 6.0  # exceeded by chance once in a billion
_TOLERANCE = 1e-3  # relative to the latent, and absolute
_FEW = 0.01  # share of rows in which rounding may choose otherwise
_COLUMNS = 256  # numbers of noise that are tried, at most


def noise(subject: Subject) -> Iterator[Finding]:
    """Each number of noise matters, and none of them to the memory or to the prediction."""
    spec, rows = subject.spec, at(subject.rows, 1.0)
    size = spec.noise
    if unused := _unused(subject):
        kinds = ", ".join(
            f"{'normal' if j < size.normal else 'uniform'} number {j}" for j in unused[:8]
        )
        yield Finding(
            f"step: noise: {kinds}{' and more' if len(unused) > 8 else ''} changes nothing; the"
            f" manifest declares {size.normal} normals, then {size.uniform} uniforms: declare what"
            " step uses"
        )
    outputs = [subject.backend.step(one) for one in (rows, other_noise(spec, rows))]
    one, other = (named(spec, output) for output in outputs)
    for name in (f"next_{tensor.name}" for tensor in spec.recurrent_state):
        if one[name].tobytes() != other[name].tobytes():
            yield Finding(
                f"step: {name} depends on the noise; the recurrent tensors after a step follow from"
                " the latent, the action and the memory before it alone"
            )
    cold = named(spec, subject.backend.step(at(rows, 0.5)))
    for name in spec.head.outputs(spec.latent_size):
        if one[name].tobytes() != other[name].tobytes():
            yield Finding(
                f"step: {name} depends on the noise; it describes the distribution before the draw"
            )
        if not np.allclose(one[name], cold[name], rtol=_TOLERANCE, atol=_TOLERANCE):
            yield Finding(
                f"step: {name} depends on the temperature; return the numbers before temperature"
            )


def most_likely(subject: Subject) -> Iterator[Finding]:
    """At temperature 0 the next latent is the most likely one, whatever the noise."""
    spec, rows = subject.spec, at(subject.rows, 0.0)
    output = subject.backend.step(rows)
    if not np.isfinite(output.latent).all():
        yield Finding(
            "step: next_latent holds NaN or infinity at temperature 0; do not divide by it"
            " without a lower bound, such as max(temperature, 1e-6)"
        )
        return
    expected, is_clear = likeliest(spec, output)
    if not _agree(output.latent, expected)[is_clear].all():
        off = float(np.abs(output.latent - expected)[is_clear].max())
        yield Finding(
            f"step: next_latent at temperature 0 is {off:.3g} off the most likely alternative of"
            f" {_outputs(spec)}; it must be its mean"
        )
    again = subject.backend.step(other_noise(spec, rows)).latent
    if not _agree(output.latent, again)[is_clear].all():
        yield Finding(
            "step: next_latent depends on the noise at temperature 0; scale normals by"
            " sqrt(temperature), and compare uniforms with softmax(logits / temperature)"
        )


def distribution(subject: Subject) -> Iterator[Finding]:
    """The next latent is drawn from the distribution that the head's outputs describe."""
    spec = subject.spec
    if isinstance(spec.head, Categorical):
        problem = one_hot_problem(spec.head, subject.backend.step(subject.rows).latent)
        if problem:
            yield Finding(f"step: next_latent {problem}")
            return
    for temperature in TEMPERATURES:
        rows = at(subject.rows, temperature)
        output = subject.backend.step(rows)
        expected, is_clear = drawn(spec, rows, output)
        share = (~_agree(output.latent, expected))[is_clear].mean() if is_clear.any() else 0.0
        if share > _FEW:
            yield _explained(subject, rows, output)
            return


def _explained(subject: Subject, rows: StepInput, output: StepOutput) -> Finding:
    """Return what is wrong with draws that are not the expected ones."""
    spec, temperature = subject.spec, float(rows.temperature[0])
    if off := _moments_off(subject, temperature):
        return Finding(
            f"step: next_latent at temperature {temperature:g} does not have the {off} that"
            f" {_outputs(spec)} describe{_hint(spec, rows, output)}"
        )
    return Finding(
        f"step: next_latent has the distribution of {_outputs(spec)}, but is not drawn as"
        f" documented from {spec.noise.normal} normals, then {spec.noise.uniform} uniforms by"
        " inverse CDF, so another backend may draw otherwise",
        "warning",
    )


def _hint(spec: WorldSpec, rows: StepInput, output: StepOutput) -> str:
    """Return which known mistake gives these draws."""
    if probabilities := are_probabilities(spec.head, output.head):
        return f": {probabilities}"
    uniform, normal = spec.noise.uniform, spec.noise.normal
    if isinstance(spec.head, Categorical) and uniform < spec.head.groups:
        return (
            f": the manifest declares {normal} normals, then {uniform} uniforms, and"
            f" {spec.head.groups} groups take a uniform each"
        )
    swapped = replace(rows, noise=np.roll(rows.noise, normal, axis=1))
    other = "weights_only" if spec.temperature_rule == "paper" else "paper"
    mistakes = {
        f"noise is used with its {uniform} uniforms first; normals come first": drawn(
            spec, swapped, output
        )[0],
        f"the draw follows temperature_rule {other}, the manifest says {spec.temperature_rule}": (
            drawn(spec.model_copy(update={"temperature_rule": other}), rows, output)[0]
        ),
        "the noise has no effect; the latent is a mean": drawn(
            spec, replace(rows, noise=_neutral(spec, rows)), output
        )[0],
    }
    for mistake, expected in mistakes.items():
        if _agree(output.latent, expected).mean() > 1 - 10 * _FEW:
            return f": {mistake}"
    return "; scale a normal by its sigma, choose by comparing a uniform with cumulative weights"


def _neutral(spec: WorldSpec, rows: StepInput) -> Array:
    numbers = rows.noise.copy()
    numbers[:, : spec.noise.normal] = 0
    return numbers


def drawn(
    spec: WorldSpec, step: StepInput, output: StepOutput
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return the next latents (B, Z) that these outputs and noise give, and which are certain."""
    if isinstance(spec.head, Deterministic):
        return output.head[0], np.ones(output.latent.shape, np.bool_)
    choices, near = drawn_choices(spec, step, output)
    mean = _means(spec, output, choices)
    if not isinstance(spec.head, GaussianMixture) or spec.noise.normal != spec.latent_size:
        return mean, ~near
    log_sigma = output.head[2]
    if spec.head.form == "isotropic":
        log_sigma = log_sigma[:, :, None].repeat(spec.latent_size, axis=2)
    sigma = np.exp(np.take_along_axis(log_sigma, choices[:, None], axis=1)[:, 0])
    if spec.temperature_rule == "paper":
        sigma = sigma * np.sqrt(step.temperature)[:, None]
    latent = mean + sigma * step.noise[:, : spec.noise.normal]
    return latent.astype(np.float32), ~near


def likeliest(spec: WorldSpec, output: StepOutput) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return the most likely alternatives' means (B, Z), and which are certain, same shape."""
    logits = spec.head.logits(output.head)
    each = spec.latent_size // (logits.shape[2] if logits.ndim == 3 else 1)
    wide = logits if logits.ndim == 3 else logits[..., None]
    ranked = np.sort(wide, axis=1)
    clear = np.ones(ranked[:, -1].shape, np.bool_)
    if wide.shape[1] > 1:
        clear = ranked[:, -1] - ranked[:, -2] > _TOLERANCE
    best = wide.argmax(axis=1).repeat(each, axis=1)
    return _means(spec, output, best), clear.repeat(each, axis=1)


def _means(spec: WorldSpec, output: StepOutput, choices: Int64) -> Array:
    """Return the means of the alternatives `choices` (B, Z), given for each latent number."""
    logits = spec.head.logits(output.head)
    each = spec.latent_size // (logits.shape[2] if logits.ndim == 3 else 1)
    rows = []
    for i, chosen in enumerate(choices[:, ::each]):
        outputs = tuple(part[i : i + 1] for part in output.head)
        order = chosen if logits.ndim == 2 else chosen[None]
        rows.append(spec.head.chosen(outputs, order)[0])
    return np.stack(rows)


def _moments_off(subject: Subject, temperature: float) -> str:
    """Return which moment of many draws of a step is not that of its head, or nothing."""
    spec = subject.spec
    for row in range(2):
        one = taken(at(subject.rows, temperature), np.full(_DRAWN_AT_ONCE, row))
        draws = np.empty((DRAWS, spec.latent_size))
        for first in range(0, DRAWS, _DRAWN_AT_ONCE):
            output = subject.backend.step(other_noise(spec, one, seed=first + row))
            draws[first : first + _DRAWN_AT_ONCE] = output.latent
        mean, variance = spec.head.moments(tempered(spec, output, temperature))
        spread = np.square(draws - mean)
        for name, values, expected, width in (
            ("mean", draws, mean, variance),
            ("variance", spread, variance, spread.var(axis=0)),
        ):
            # A rare alternative comes up a few times or not at all.
            rare = 10 / DRAWS * np.abs(values - expected).max(axis=0)
            bound = STANDARD_ERRORS * np.sqrt(width / DRAWS) + rare
            bound += 1e-5 * np.maximum(1, np.abs(expected))
            if (np.abs(values.mean(axis=0) - expected) > bound).any():
                return name
    return ""


def tempered(spec: WorldSpec, output: StepOutput, temperature: float) -> tuple[Array, ...]:
    """Return the head's outputs with the temperature applied to them."""
    match spec.head:
        case Deterministic():
            return output.head
        case Categorical():
            return (output.head[0] / np.float32(temperature),)
    logits, mu, log_sigma = output.head
    if spec.temperature_rule == "paper":
        log_sigma = log_sigma + np.float32(0.5 * np.log(temperature))
    return logits / np.float32(temperature), mu, log_sigma


def _unused(subject: Subject) -> list[int]:
    """Return the numbers of noise that change no output of any row."""
    rows = at(subject.rows, 3.0)  # where unlikely alternatives are drawn, too
    count = rows.noise.shape[1]
    unused = []
    for column in np.unique(np.linspace(0, count - 1, min(count, _COLUMNS)).astype(int)):
        is_normal = column < subject.spec.noise.normal
        results = (
            subject.backend.step(replace(rows, noise=_with(rows.noise, column, value))).arrays()
            for value in ((-2.0, 2.0) if is_normal else (1e-4, 0.35, 0.65, 1 - 1e-4))
        )
        first = [array.tobytes() for array in next(results)]
        if all([array.tobytes() for array in result] == first for result in results):
            unused.append(int(column))
    return unused


def _with(noise: Array, column: int, value: float) -> Array:
    numbers = noise.copy()
    numbers[:, column] = value
    return numbers


def _agree(found: Array, expected: Array) -> npt.NDArray[np.bool_]:
    close: npt.NDArray[np.bool_] = np.isclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE)
    return close


def _outputs(spec: WorldSpec) -> str:
    return ", ".join(spec.head.outputs(spec.latent_size))
