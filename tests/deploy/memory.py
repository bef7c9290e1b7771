"""The memory that a deployment grants, and what a server with its variables can take."""

import os
import re
import select
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).with_name("dreamserve"))
PATIENCE_S = 30.0
UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}  # Compose's, Redis' kb, Kubernetes' Ki


def size(text: str) -> int:
    """Return the bytes of a size as Compose, Redis or Kubernetes write it."""
    found = re.fullmatch(r"(\d+)([kmg]?)(?:i|b)?", text.lower())
    assert found is not None, text
    return int(found[1]) * UNITS[found[2]]


def most_bytes(variables: dict[str, str]) -> float:
    """Return what a server of the image's world says that it holds at most, and its own memory.

    It listens on a free port of 127.0.0.1, and keeps its sessions in memory.
    """
    changed = {"DREAMSERVE_HOST": "127.0.0.1", "DREAMSERVE_PORT": "0", "DREAMSERVE_STORE": "memory"}
    with subprocess.Popen(
        [COMMAND, "serve", "bundles/takecover"],
        cwd=ROOT,
        env={**os.environ, **variables, **changed},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], PATIENCE_S)[0], "printed nothing"
            (most_mb,) = re.findall(r"at most (\d+) MB in all", process.stdout.readline())
            own = Path(f"/proc/{process.pid}/status").read_text()
            (own_kib,) = re.findall(r"^VmHWM:\s+(\d+) kB", own, re.MULTILINE)
            return 1e6 * int(most_mb) + 1024 * int(own_kib)
        finally:
            process.kill()
