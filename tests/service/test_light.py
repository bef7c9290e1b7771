"""Serving with onnxruntime never imports torch."""

import subprocess
import sys
from pathlib import Path

import pytest


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


TORCH = "import sys; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'onnx')])"


@pytest.mark.parametrize(
    "imported",
    ["dreamserve", "dreamserve.local", "dreamserve.backends.onnx", "dreamserve.engine.engine"],
)
def test_importing_does_not_import_torch(imported: str) -> None:
    assert run(f"import {imported}; {TORCH}") == "[]"


def test_a_command_imports_what_it_needs_only_when_it_runs() -> None:
    heavy = "('numpy', 'fastapi', 'onnxruntime', 'uvicorn', 'asyncio', 'torch')"
    code = f"import dreamserve.cli, sys; print([m for m in {heavy} if m in sys.modules])"
    assert run(code) == "[]"


def test_dreaming_on_onnxruntime_does_not_import_torch(tiny_bundle: Path) -> None:
    code = f"""
from dreamserve.local import LocalClient
dream = LocalClient({str(tiny_bundle)!r}, backend="auto")
session = dream.reset(seed=1, include=["frame"]).session_id
dream.step(session_id=session, action=1)
dream.plan(session_id=session, horizon=2, candidates=4)
{TORCH}
"""
    assert run(code) == "[]"


def test_without_torch_the_torch_backend_says_what_to_install(tiny_bundle: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = None
from dreamserve.loading import load_world
from dreamserve.errors import BackendError
from dreamserve.trust import Trust
try:
    load_world({str(tiny_bundle)!r}, "torch", trust=Trust(trust_torchscript=True))
except BackendError as error:
    print(error)
"""
    assert run(code).endswith("not installed: pip install 'dreamserve[torch]'")
