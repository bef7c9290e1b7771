"""The protocol is light: it loads numpy and the standard library, nothing else."""

import subprocess
import sys

IMPORT_ALL = """
import sys
before = set(sys.modules)
import importlib, pkgutil
import dreamserve_protocol
for module in pkgutil.iter_modules(dreamserve_protocol.__path__):
    importlib.import_module(f"dreamserve_protocol.{module.name}")
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - sys.stdlib_module_names))
"""


def test_importing_all_of_it_loads_numpy_and_nothing_else_of_third_parties():
    imported = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, timeout=60, check=True
    )
    assert imported.stdout.split() == ["dreamserve_protocol", "numpy"]
