"""The command line, run in this process."""

import logging
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dreamserve.cli import main

ENDING = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit status. `words` is its stderr without the box."""

    status: int
    out: str
    err: str

    @property
    def words(self) -> str:
        return " ".join(re.sub(r"[│╭╮╰╯─]", " ", self.err).split())


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs `dreamserve` with arguments in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str | Path, **variables: str) -> Done:
        root = logging.getLogger()
        handlers, level = root.handlers.copy(), root.level
        signals = {number: signal.getsignal(number) for number in ENDING}
        try:
            result = CliRunner().invoke(main, [str(one) for one in arguments], env=variables)
        finally:  # `serve` sets up the log and the signals of the whole process
            root.handlers[:] = handlers
            root.setLevel(level)
            for number, handler in signals.items():
                signal.signal(number, handler)
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return Done(result.exit_code, result.stdout, result.stderr)

    return command
