"""The example of docs/bundle.md that writes a manifest for ONNX files."""

import json
import re
from pathlib import Path

import pytest

from dreamserve.bundle import content_version
from dreamserve.conformance.suite import check_bundle

from .vector_worlds import DETERMINISTIC
from .worlds import write_world

PAGE = Path(__file__).parents[3] / "docs" / "bundle.md"


def test_the_example_makes_a_bundle_of_onnx_files_that_keeps_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_world(tmp_path / "linear", world=DETERMINISTIC)
    for name in ("bank.npz", "manifest.json"):
        (folder / name).unlink()
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [example] = (one for one in examples if "seal(" in one)
    exec(compile(example, "docs/bundle.md", "exec"), {"__name__": "example"})
    report = check_bundle(folder)
    assert [finding.text for finding in report.errors()] == []
    fields = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert fields["version"] == content_version(fields)
