"""schemathesis reads the server's OpenAPI document and holds the real server to it.

pytest tests/fuzz/test_openapi.py --fuzz-seconds 600    # for that long, at least 10,000 requests
"""

import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BUNDLE = HERE.parents[1] / "bundles" / "takecover"
PATIENCE_S = 60.0
SHORT_S = 4
SMALL = {
    "THREADS": "1",
    "CAPACITY": "64",
    "MAX_DREAMT_STEPS": "500",
    "MAX_ROWS": "32",
    "MAX_FRAMES": "32",
    "MAX_FORKS": "8",
    "MAX_REWIND": "16",
    "MAX_KEPT_BYTES": "500000",
    "MAX_BODY_BYTES": "1000000",
    "LOG_LEVEL": "warning",
}


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Return the URL of a server with small bounds, which is still there at the end."""
    if not BUNDLE.is_dir():
        pytest.skip("bundles/takecover is not there")
    command = [str(Path(sys.executable).with_name("dreamserve")), "serve", str(BUNDLE)]
    variables = {f"DREAMSERVE_{name}": value for name, value in SMALL.items()}
    log = tmp_path / "server.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*command, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | variables,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], PATIENCE_S)[0], "it printed nothing"
            yield process.stdout.readline().strip().rsplit(" ", 1)[-1]
            assert process.poll() is None, "the server has ended"
            assert "ERROR" not in log.read_text()
        finally:
            process.kill()


def test_the_server_does_what_its_document_says(
    url: str, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    seconds = pytestconfig.getoption("--fuzz-seconds")
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--no-color"),
        *("--config-file", str(HERE / "schemathesis.toml")),
        *("run", f"{url}/openapi.json", "--wait-for-schema", "20"),
        *("--checks", "all", "--seed", str(pytestconfig.getoption("--fuzz-seed") + 1)),
    ]
    if seconds:
        # every operation's boundary values first: they take half a minute
        command += ["--max-time", str(int(seconds)), "--max-examples", "400"]
    else:
        command += ["--max-time", str(SHORT_S), "--phases", "coverage", "--no-shrink"]
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds + PATIENCE_S * 5,
        check=False,
        cwd=tmp_path,  # where it keeps the failures that it has found
        env=os.environ | {"PYTHONPATH": str(HERE)},
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2000:]
    counted = re.search(r"(\d+) generated", ran.stdout)
    assert counted, ran.stdout
    assert int(counted[1]) >= (10_000 if seconds >= 600 else 20), ran.stdout
