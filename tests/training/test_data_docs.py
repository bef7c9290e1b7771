"""The examples of docs/data.md, run as printed."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "data.md"


def test_the_documents_examples_run_in_order(tmp_path, monkeypatch):
    pytest.importorskip("minari", reason="pip install 'dreamserve-training[minari]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "data").mkdir()
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    text = DOCUMENT.read_text().partition("## Import")[2]  # tests/e2e/test_own_data.py walks before
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names, output = {}, io.StringIO()
    with contextlib.redirect_stdout(output):
        for number, block in enumerate(blocks):
            exec(compile(block, f"docs/data.md, block {number}", "exec"), names)
    printed = output.getvalue()
    assert re.search(r"^20 episodes of \d+ steps$", printed, re.MULTILINE)
    assert names["RECIPE"].data.description().steps > 100
    assert re.search(r"^2 \(\d+, 64, 64, 3\)$", printed, re.MULTILINE)
