"""Every mistake gets one line that says what, where and what would be right, and a status."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamserve.cli import serving

Spoil = Callable[[Path], Path]


def missing(bundle: Path) -> Path:
    return bundle / "nowhere"


def a_file(bundle: Path) -> Path:
    return bundle / "step.onnx"


def no_bundle(bundle: Path) -> Path:
    (bundle / "manifest.json").unlink()
    return bundle


def parent(bundle: Path) -> Path:
    return bundle.parent


def damaged(bundle: Path) -> Path:
    (bundle / "bank.npz").write_bytes(b"?")
    return bundle


def truncated(bundle: Path) -> Path:
    graph = bundle / "step.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    return bundle


def too_long(bundle: Path) -> Path:
    return bundle / ("x" * 300)


def circular(bundle: Path) -> Path:
    (bundle / "circle").symlink_to(bundle / "circle")
    return bundle / "circle"


BUNDLES = [
    (missing, r"nowhere: no such folder; a bundle is a folder with manifest\.json"),
    (a_file, r"step\.onnx: is a file; a bundle is a folder"),
    (no_bundle, r"has no manifest\.json; a bundle is a folder with manifest\.json"),
    (parent, r"has no manifest\.json; bundles in it: \S+"),
    (damaged, r"bank\.npz: 1 bytes with sha256 \w+…, the manifest says \w+…: damaged, .*copy it"),
    (truncated, r"step\.onnx: \d+ bytes with sha256 \w+…, the manifest says \w+…: damaged"),
    (too_long, r"cannot be read: File name too long"),
    (circular, r"cannot be read: Too many levels of symbolic links"),
]


@pytest.mark.parametrize(("spoil", "message"), BUNDLES)
def test_a_bundle_that_cannot_be_served_is_told_by_every_command(
    run, tiny_bundle, spoil: Spoil, message: str
) -> None:
    path = spoil(tiny_bundle)
    for command in (("serve", "--port", "0"), ("inspect",)):
        done = run(*command, path)
        assert (done.status, done.out) == (1, "")
        assert re.fullmatch(f"dreamserve: .*{message}.*\n", done.err), done.err
    assert run("doctor", path, "--port", "0").status == 1


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_file_that_may_not_be_read_is_told(tiny_bundle) -> None:
    (tiny_bundle / "step.onnx").chmod(0)
    command = [sys.executable, "-m", "dreamserve", "inspect", str(tiny_bundle)]
    if os.geteuid() == 0:  # root may read everything, unless it gives that up
        capabilities = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={capabilities}", "--inh-caps=-all", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("step.onnx: cannot be read: Permission denied\n")


def test_a_port_that_needs_privileges_is_told(run, tiny_bundle, monkeypatch) -> None:
    class Socket(serving.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dreamserve.api.server.socket.socket", Socket)
    done = run("serve", tiny_bundle, "--port", "80")
    assert done.status == 1
    assert "port 80: Permission denied; ports below 1024 need privileges" in done.err


def test_a_port_in_use_is_told(run, tiny_bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", tiny_bundle, "--port", str(port))
    message = f"cannot listen on 127.0.0.1 port {port}: Address already in use; .*--port"
    assert (done.status, done.out) == (1, "")
    assert re.fullmatch(f"dreamserve: {message}.*\n", done.err), done.err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--capacity", "0", "--capacity is 0: .*greater than or equal to 1"),
        ("--port", "65536", "--port is 65536: .*less than or equal to 65535"),
        ("--backend", "tpu", "--backend is 'tpu': .*'auto', 'onnx'"),
        ("--host", "not.a.host.invalid", "cannot listen on not.a.host.invalid"),
        ("--host", "192.0.2.1", "192.0.2.1.*--host must be an address of this machine"),
    ],
)
def test_a_setting_that_cannot_be_is_told(run, tiny_bundle, option, value, message) -> None:
    done = run("serve", tiny_bundle, option, value)
    assert (done.status, done.out) == (1, "")
    assert re.fullmatch(f"dreamserve: .*{message}.*\n", done.err), done.err


def test_without_a_bundle_it_says_how_to_name_one(run) -> None:
    done = run("serve")
    assert (done.status, done.out) == (1, "")
    assert re.fullmatch("dreamserve: .*bundles/takecover.*dreamserve serve PATH.*\n", done.err)


def test_without_torch_its_backend_says_what_to_install(run, tiny_bundle, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "dreamserve.backends.torch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    for command in ("serve", "doctor"):
        chosen = ("--backend", "torch", "--trust-torchscript")
        done = run(command, tiny_bundle, "--port", "0", *chosen)
        assert done.status == 1
        told = " ".join((done.out + done.err).split())
        assert "needs torch, which is not installed: pip install 'dreamserve[torch]'" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("serve", "--prot", "1"), "No such option: --prot.*--port"),
        (("serve", "--port", "http"), "'--port'.*valid integer"),
        (("inspect",), "Missing argument 'BUNDLE'"),
        (("srve",), "No such command 'srve'. Did you mean 'serve'"),
        (("openapi", "x"), "unexpected extra argument"),
    ],
)
def test_a_command_line_that_makes_no_sense_ends_with_2_and_a_hint(run, arguments, message) -> None:
    done = run(*arguments)
    assert (done.status, done.out) == (2, "")
    assert re.search(message, done.words), done.words


def test_a_bundle_without_a_command_is_told_the_command(run, tiny_bundle) -> None:
    done = run(tiny_bundle)
    assert done.status == 2
    assert "is a folder; to serve it: dreamserve serve" in done.words


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        ("serve --port 0 --traces", "OTEL_BSP_MAX_QUEUE_SIZE=256"),
        ("serve --port 0 --traces", "OTEL_BSP_SCHEDULE_DELAY=0"),
        ("serve --port 0 --traces", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=abc"),  # as it is imported
        ("serve --port 0", "OTEL_PROPAGATORS=jaeger"),  # FastAPI imports OpenTelemetry, too
        ("openapi", "OTEL_PROPAGATORS=jaeger"),
    ],
)
def test_a_variable_of_opentelemetry_that_cannot_be_used_is_told(
    tiny_bundle, command, variable
) -> None:
    name, _, value = variable.partition("=")
    bundles = [tiny_bundle] if command.startswith("serve") else []
    done = subprocess.run(
        [sys.executable, "-m", "dreamserve", *command.split(), *bundles],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    message = "dreamserve: the variables OTEL_\\* cannot be used: .+\n"
    assert re.fullmatch(message, done.stderr), done.stderr


@pytest.mark.parametrize("command", ["serve", "doctor"])
def test_a_misspelt_variable_is_told_what_it_could_mean(run, tiny_bundle, command) -> None:
    done = run(command, tiny_bundle, "--port", "0", DREAMSERVE_PROT="1")
    assert done.status == 1
    told = " ".join((done.out + done.err).split())
    assert "unknown variable DREAMSERVE_PROT; did you mean DREAMSERVE_PORT?" in told


@pytest.mark.parametrize("backend", ["auto", "onnx"])
def test_a_precision_that_the_backend_lacks_is_refused(run, tiny_bundle, backend) -> None:
    done = run("serve", tiny_bundle, "--port", "0", "--backend", backend, "--precision", "bf16")
    assert done.status == 1
    assert "precision bf16 is for backend torch-cuda only; backend onnx" in done.err


def test_sessions_that_do_not_fit_in_memory_are_refused(run, tiny_bundle, monkeypatch) -> None:
    def too_much(*_: object) -> None:
        raise MemoryError("Unable to allocate 23.3 TiB")

    monkeypatch.setattr(serving, "engine_of", too_much)
    done = run("serve", tiny_bundle, "--port", "0")
    message = "not enough memory (Unable to allocate 23.3 TiB); choose a smaller --capacity"
    assert (done.status, done.err) == (1, f"dreamserve: {message}\n")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "cannot listen on 192.0.2.1"),
        ({"DREAMSERVE_CAPACITY": "0"}, "DREAMSERVE_CAPACITY is '0'"),
        ({"DREAMSERVE_PROT": "1"}, "did you mean DREAMSERVE_PORT"),
        ({"DREAMSERVE_TLS_CERT": "none"}, "both --tls-cert and --tls-key"),
    ],
)
@pytest.mark.parametrize("by", ["variable", "option"])
def test_a_start_that_fails_is_an_event_where_the_log_is_json(
    run, tiny_bundle, by, variables, reason
) -> None:
    as_json = ["--log-format", "json"] if by == "option" else []
    if by == "variable":
        variables = {**variables, "DREAMSERVE_LOG_FORMAT": "json"}
    done = run("serve", tiny_bundle, "--host", "192.0.2.1", *as_json, **variables)
    assert (done.status, done.out) == (1, "")
    (line,) = done.err.splitlines()
    event = json.loads(line)
    assert event.pop("time")
    assert reason in event.pop("reason")
    assert event == {
        "level": "error",
        "logger": "dreamserve",
        "message": "ended by an error",
        "status": 1,
    }


def test_an_interrupt_while_loading_ends_with_130_and_no_traceback(
    run, tiny_bundle, monkeypatch
) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(serving, "load_world", interrupted)
    done = run("serve", tiny_bundle, "--port", "0")
    assert (done.status, done.err) == (130, "dreamserve: interrupted\n")


def test_the_version_is_printed(run) -> None:
    done = run("--version")
    assert (done.status, done.out) == (0, "dreamserve 0.1.0\n")


def test_openapi_prints_the_document(run) -> None:
    done = run("openapi")
    assert done.status == 0
    assert "/step" in json.loads(done.out)["paths"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_ends_no_server() -> None:
    program = "from dreamserve.cli import serving; serving._print('served')"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.stderr == b"cannot print to stdout: No space left on device\n"
    assert done.returncode == 0
