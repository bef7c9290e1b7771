"""A process with few file descriptors answers, however many connections are opened."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

COMMAND = str(Path(sys.executable).with_name("dreamserve"))
PATIENCE_S = 30.0


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell's ulimit")
def test_probes_and_requests_are_answered_at_the_limit_of_files(exported_bundle) -> None:
    line = 'ulimit -n 256; exec "$0" serve "$1" --port 0 --drain-s 0'
    command = ["bash", "-c", line, COMMAND, str(exported_bundle)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    clients = []
    with subprocess.Popen(command, **pipes) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip().rsplit(" ", 1)[-1]
            port = int(url.rsplit(":", 1)[-1])
            for _ in range(300):
                clients.append(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
                clients[-1].sendall(b"GET /livez HT")
            until_s = time.monotonic() + PATIENCE_S
            while httpx.get(f"{url}/readyz", timeout=PATIENCE_S).status_code != 200:
                assert time.monotonic() < until_s
            assert httpx.post(f"{url}/reset", json={}, timeout=PATIENCE_S).status_code == 200
        finally:
            process.terminate()
            _, log = process.communicate(timeout=PATIENCE_S)
            for client in clients:
                client.close()
    assert process.returncode == 0
    assert log.count("the limit of open files is 256") == 1
    assert log.count("the limit, are open: closed those that were idle for the longest") == 1
    assert "Traceback" not in log
