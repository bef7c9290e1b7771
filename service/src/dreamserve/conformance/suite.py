"""The checks of a bundle, in order.

    dreamserve check bundles/takecover

Loading checks files, shapes and graphs (`dreamserve.bundle`, `dreamserve.backends`); then the
graphs run on the bank's real moments. A check that needs what an earlier one found broken is not
run, and the report says so.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from dreamserve.backends.check import step_s
from dreamserve.backends.onnx import OnnxBackend
from dreamserve.bundle import Bundle, load_bundle
from dreamserve.conformance import (
    draws,
    dreams,
    memory,
    observations,
    policy,
    rows,
    torchscript,
)
from dreamserve.conformance.report import Finding, Report
from dreamserve.conformance.subject import Subject
from dreamserve.errors import BundleError
from dreamserve.planning.random_shooting import RandomShooting
from dreamserve.trust import UNTRUSTED, Trust

Check = Callable[[Subject], Iterator[Finding]]
FIRST: tuple[Check, ...] = (dreams.actions, dreams.finite_dreams)  # the others need them
CHECKS: tuple[Check, ...] = (
    dreams.ends,
    dreams.reward,
    rows.independent_rows,
    rows.pure,
    draws.noise,
    draws.most_likely,
    draws.distribution,
    memory.memory,
    policy.policy,
    observations.bank,
    observations.decoded,
    observations.reconstruction,
)
_ROWS = (1, 64)
_PLANNED = 10  # steps of a plan whose time is told

Loaded = TypeVar("Loaded")


def check_bundle(path: str | Path, trust: Trust = UNTRUSTED) -> Report:
    """Hold the bundle in the folder `path` to its contract, and return all that was found.

    It runs as a server runs it, within the bounds of `trust`. TorchScript is compared with ONNX
    only if `trust.trust_torchscript`; that needs torch.
    """
    report = Report(str(path))
    bundle = _loaded(report, "files", lambda: load_bundle(path, trust))
    if bundle is not None:
        backend = _loaded(report, "graphs", lambda: OnnxBackend.from_bundle(bundle))
        if backend is not None:
            _behaviour(report, bundle, backend)
            return report
    _skip(report, FIRST + CHECKS)
    return report


def _behaviour(report: Report, bundle: Bundle, backend: OnnxBackend) -> None:
    controller = bundle.manifest.controller
    inputs = () if controller is None else controller.inputs
    subject = Subject(bundle.manifest, backend, bundle.bank, bundle.controller, inputs)
    checks = FIRST + CHECKS
    for number, check in enumerate(checks):
        if number <= len(FIRST) and report.errors():
            _skip(report, checks[number:])
            break
        _run(report, check, subject)
    else:
        if bundle.trust.trust_torchscript:
            _loaded(report, "torchscript", lambda: torchscript.compare(bundle, backend))
    report.measured["state of a dream"] = f"{bundle.manifest.state_bytes():,} bytes"
    took_s = {rows: step_s(bundle.manifest, backend, rows) for rows in _ROWS}
    report.measured["a step"] = ", ".join(
        f"{1e3 * one_s:.3g} ms for {rows} rows" for rows, one_s in took_s.items()
    )
    candidates = RandomShooting().candidates
    plan_s = took_s[_ROWS[-1]] / _ROWS[-1] * candidates * _PLANNED
    report.measured["a plan"] = (
        f"about {plan_s:.2g} s for the default of {candidates:,} candidates of {_PLANNED} steps;"
        " ask for fewer, or with budget_ms"
    )


def _loaded(report: Report, name: str, load: Callable[[], Loaded]) -> Loaded | None:
    """Return what `load` returns; None, and findings in the report, if it refuses the bundle."""
    try:
        loaded = load()
    except BundleError as error:
        report.findings += [Finding(problem, check=name) for problem in error.problems]
        return None
    report.passed.append(name)
    return loaded


def _run(report: Report, check: Check, subject: Subject) -> None:
    try:
        found = [replace(finding, check=_title(check)) for finding in check(subject)]
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):  # whose exceptions share no base
            raise
        line = (str(error).splitlines() or [type(error).__name__])[0]
        text = f"the graphs fail: {line}; they must run on all inputs that the contract allows"
        found = [Finding(text, check=_title(check))]
    report.findings += found
    if all(finding.level == "warning" for finding in found):
        report.passed.append(_title(check))


def _skip(report: Report, checks: tuple[Check, ...]) -> None:
    report.not_run += map(_title, checks)


def _title(check: Check) -> str:
    return check.__name__.replace("_", " ")
