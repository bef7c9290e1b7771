"""What others call: the helper for tests, and the command."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dreamserve.cli import main
from dreamserve.conformance.suite import check_bundle as check_bundle_anyway
from dreamserve.testing import check_bundle

from .worlds import write_world

NEVER = {"done": {"rule": "threshold", "threshold": 1000.0}}


def command(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["check", *map(str, arguments)])
    return result.exit_code, result.stdout


def test_the_helper_returns_the_report_of_a_sound_bundle(tmp_path: Path) -> None:
    report = check_bundle(write_world(tmp_path / "world"), strict=True)
    assert len(report.passed) == 16


def test_the_helper_fails_with_all_findings(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "world")
    (folder / "encode.onnx").write_bytes(b"")
    (folder / "step.onnx").write_bytes(b"")
    with pytest.raises(AssertionError) as failed:
        check_bundle(folder)
    lines = str(failed.value).splitlines()
    assert [line.split()[0] for line in lines] == ["bundle", "error", "error", "not", "2"]


def test_a_warning_fails_only_if_strict(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "world", **NEVER)
    assert [one.level for one in check_bundle(folder).findings] == ["warning"]
    with pytest.raises(AssertionError, match="ends no dream within 200 steps"):
        check_bundle(folder, strict=True)


def test_the_command_prints_findings_and_its_status_tells_errors(tmp_path: Path) -> None:
    status, printed = command(write_world(tmp_path / "sound"))
    assert status == 0
    assert printed.splitlines()[-1] == "0 errors, 0 warnings, 16 checks passed"
    doubtful = write_world(tmp_path / "doubtful", **NEVER)
    assert command(doubtful)[0] == 0
    assert command(doubtful, "--strict")[0] == 1
    status, printed = command(tmp_path / "none")
    assert status == 1
    assert "error    files: " in printed
    assert "no such folder; a bundle is a folder with manifest.json" in printed


def test_the_json_has_every_finding(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "world")
    (folder / "bank.npz").write_bytes(b"")
    status, printed = command(folder, "--json")
    told: dict[str, Any] = json.loads(printed)
    assert (status, told["ok"], len(told["findings"])) == (1, False, 1)
    assert told["findings"][0].keys() == {"text", "level", "check"}


def test_frames_that_are_not_finite_are_the_fault_of_decode_alone(tmp_path: Path) -> None:
    edits = {"decode": ("pixels = Clip(grey, low, high)", "pixels = Sqrt(flat)")}
    report = check_bundle_anyway(write_world(tmp_path / "world", edits))
    assert [finding.check for finding in report.errors()] == ["decoded"]


def test_text_of_a_bundle_cannot_command_the_terminal(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "world")
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"paper"', '"\\u001b[2J"'))
    assert "\x1b" not in command(folder)[1]


def test_trusted_torchscript_is_compared_only_if_there_is_any(tmp_path: Path) -> None:
    status, printed = command(write_world(tmp_path / "world"), "--trust-torchscript")
    assert status == 0
    assert "0 errors" in printed
