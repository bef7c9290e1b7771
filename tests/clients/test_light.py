"""The SDK is light: it installs and works with neither torch nor the service beside it."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ABSENT = ("torch", "dreamserve", "fastapi", "onnxruntime", "gymnasium")

USE_IT = f"""
import importlib.util, sys
import dreamserve_client

for name in {ABSENT}:
    assert importlib.util.find_spec(name) is None, f"{{name}} came along"
dreamserve_client.DreamClient("http://127.0.0.1:1").close()
print(*sorted(name.partition(".")[0] for name in sys.modules if "dreamserve" in name))
"""


@pytest.mark.slow
def test_it_installs_and_imports_alone(tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    source = tmp_path / "python"
    source.mkdir()
    (source / "pyproject.toml").write_bytes((ROOT / "clients/python/pyproject.toml").read_bytes())
    (source / "src").symlink_to(ROOT / "clients/python/src")
    pip = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
    subprocess.run([*pip, source], check=True, timeout=300)
    used = subprocess.run(
        [python, "-c", USE_IT], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert set(used.stdout.split()) == {"dreamserve_client"}


def test_importing_it_loads_neither_torch_nor_the_service():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, dreamserve_client; print(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split()
    assert "dreamserve_client" in loaded
    assert not set(ABSENT) & set(loaded)
