"""A helper for the tests of those who write bundles.

from dreamserve.testing import check_bundle

def test_my_world_keeps_the_contract(tmp_path):
    write_my_world(tmp_path / "world")
    check_bundle(tmp_path / "world")
"""

from pathlib import Path

from dreamserve.conformance import suite
from dreamserve.conformance.report import Report
from dreamserve.trust import UNTRUSTED, Trust


def check_bundle(path: str | Path, trust: Trust = UNTRUSTED, *, strict: bool = False) -> Report:
    """Hold the bundle in the folder `path` to the whole contract of `docs/bundle.md`.

    Returns the report. Raises AssertionError, whose lines are all findings, if there is an error;
    if `strict`, if there is a warning.
    """
    report = suite.check_bundle(path, trust)
    if report.findings if strict else report.errors():
        raise AssertionError("\n".join(report.lines()))
    return report
