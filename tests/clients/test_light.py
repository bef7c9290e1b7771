"""The SDK and the protocol are light: they install and work without torch and the service."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ABSENT = ("torch", "dreamserve", "pydantic", "fastapi", "onnxruntime", "gymnasium")
PROTOCOL, CLIENT = "protocol/src/dreamserve_protocol", "clients/python/src/dreamserve_client"
CLIENT_LOADS = {"dreamserve_client", "dreamserve_protocol", "httpx", "msgpack", "numpy"}

# Imports every module of the package at `sys.argv[1]`; prints the packages that this has loaded.
IMPORT_ALL = f"""
import importlib, importlib.util, pkgutil, sys

for name in {ABSENT}:
    assert importlib.util.find_spec(name) is None, f"{{name}} came along"
package = importlib.import_module(sys.argv[1])
for module in pkgutil.iter_modules(package.__path__):
    try:
        importlib.import_module(f"{{package.__name__}}.{{module.name}}")
    except ValueError as error:  # one that needs an extra says so
        assert module.name == "envs" and "dreamserve-client[gymnasium]" in str(error), error
if hasattr(package, "DreamClient"):
    package.DreamClient("http://127.0.0.1:1").close()
roots = {{name.partition(".")[0] for name in sys.modules}}
told = ("dreamserve", "numpy", "httpx", "msgpack")
print(*sorted(root for root in roots if root.startswith(told)))
"""


def install_alone(folder: Path, *packages: str) -> Path:
    """Return the python of a new environment with these packages of ours and their dependencies."""
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    copies = []
    for package in packages:
        source = (ROOT / package).parents[1]
        copy = folder / source.name
        copy.mkdir()
        (copy / "pyproject.toml").write_bytes((source / "pyproject.toml").read_bytes())
        (copy / "src").symlink_to(source / "src")
        copies.append(copy)
    pip = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
    subprocess.run([*pip, *copies], check=True, timeout=300)
    return python


@pytest.mark.slow
@pytest.mark.parametrize(
    ("packages", "loaded"),
    [
        ((PROTOCOL,), {"dreamserve_protocol", "numpy"}),
        ((PROTOCOL, CLIENT), CLIENT_LOADS),
    ],
    ids=["protocol", "client"],
)
def test_it_installs_and_imports_alone(tmp_path, packages, loaded):
    python = install_alone(tmp_path, *packages)
    imported = subprocess.run(
        [python, "-c", IMPORT_ALL, Path(packages[-1]).name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert set(imported.stdout.split()) == loaded


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
