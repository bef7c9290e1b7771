"""The SDK and the protocol are light: they install and work without torch and the service."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ABSENT = ("torch", "dreamserve", "pydantic", "fastapi", "onnxruntime", "gymnasium")
PROTOCOL, CLIENT = "protocol/src/dreamserve_protocol", "clients/python/src/dreamserve_client"
LOADED = {  # in this order
    PROTOCOL: {"dreamserve_protocol", "numpy"},
    CLIENT: {"dreamserve_client", "dreamserve_protocol", "httpx", "msgpack", "numpy"},
}

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


def install(python: Path, package: str, folder: Path) -> None:
    """Install a package of ours and its dependencies in the environment of `python`."""
    source = (ROOT / package).parents[1]
    copy = folder / source.name
    copy.mkdir()
    (copy / "pyproject.toml").write_bytes((source / "pyproject.toml").read_bytes())
    (copy / "src").symlink_to(source / "src")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", copy], check=True, timeout=300)


@pytest.mark.slow
def test_the_protocol_and_then_the_client_install_and_import_alone(tmp_path):
    venv.create(tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    for package, loaded in LOADED.items():
        install(python, package, tmp_path)
        imported = subprocess.run(
            [python, "-c", IMPORT_ALL, Path(package).name],
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
