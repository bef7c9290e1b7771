"""The systemd unit is one that systemd accepts, and leaves a server the time to drain."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dreamserve.settings import Settings

UNIT = Path(__file__).parents[2] / "deploy/systemd/dreamserve@.service"


def test_systemd_finds_no_fault(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "dreamserve@8001.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.M))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "dreamserve@" not in done.stderr


def test_it_is_not_killed_while_it_drains():
    (timeout_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert int(timeout_s) > Settings().drain_s + 5


def test_each_server_has_a_folder_of_its_own_and_runs_in_it():
    """With DynamicUser each has another user, to whom systemd gives the folder at its start."""
    options = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    assert options["DynamicUser"] == "yes"
    assert options["StateDirectory"].endswith("/%i")
    assert options["WorkingDirectory"] == f"%S/{options['StateDirectory']}"
