"""What a check of a bundle found."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One departure from the contract, in one line: where it is, what it is, what would be right.

    An error breaks the contract. A warning is allowed, but hardly ever meant.
    """

    text: str
    level: Level = "error"
    check: str = ""  # the name of the check


@dataclass
class Report:
    """All findings on one bundle, and what was measured in passing."""

    bundle: str
    findings: list[Finding] = field(default_factory=list)
    measured: dict[str, str] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)  # the checks without an error
    not_run: list[str] = field(default_factory=list)  # those that errors of earlier ones forbid

    def errors(self) -> list[Finding]:
        """Return the findings that break the contract."""
        return [finding for finding in self.findings if finding.level == "error"]

    def fields(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {"ok": not self.errors(), **asdict(self)}

    def lines(self) -> Iterator[str]:
        """Yield the report as text: a line for each finding and each measurement."""
        yield f"bundle {self.bundle}"
        for one in self.findings:
            yield f"{one.level:8} {one.check}: {one.text}"
        for name, value in self.measured.items():
            yield f"{'measured':8} {name}: {value}"
        if self.not_run:
            yield f"{'not run':8} {', '.join(self.not_run)}: what is wrong above comes first"
        errors = len(self.errors())
        warnings = len(self.findings) - errors
        yield f"{errors} errors, {warnings} warnings, {len(self.passed)} checks passed"
