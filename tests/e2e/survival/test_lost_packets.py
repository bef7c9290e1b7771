"""The network between a server and its store loses packets, and tells nobody."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAMESPACE = ("unshare", "--map-root-user", "--net")
ROOT = Path(__file__).parents[3]


@pytest.fixture
def namespace(monkeypatch) -> tuple[str, ...]:
    """Return the command that runs another one in a network of its own."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    for program in ("ip", "unshare", "nsenter", "redis-server"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    tried = ("ip", "link", "add", "one-end", "type", "veth", "peer", "name", "other-end")
    if subprocess.run([*NAMESPACE, *tried], capture_output=True, check=False).returncode:
        pytest.skip("this machine permits no network namespaces")
    return NAMESPACE


def test_a_dream_survives_a_network_that_loses_replies_or_everything(
    namespace, exported_bundle, tmp_path
):
    scenario = (sys.executable, "-m", "tests.e2e.survival.namespaces")
    command = [*namespace, *scenario, str(exported_bundle), str(tmp_path)]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("went on") == 2
