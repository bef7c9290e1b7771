"""Log lines: their forms, what no input can do to them, and how many there are."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from dreamserve.logs import ACCESS, BoundedHandler, JsonFormatter, TextFormatter

FORGED = "x\n2026-01-01 INFO dreamserve: all is well\r\x1b[31m\u202eevil\u2028\x7f\x9b\ud800"
SEEN_AS = ("\n", "\r", "\x1b", "\u202e", "\u2028", "\x7f", "\x9b")


class Log:
    """A logger that writes to a text, with a clock of its own."""

    def __init__(self) -> None:
        self.now_s, self.stream = 100.0, io.StringIO()
        self.handler = BoundedHandler(self.stream, 3, lambda: self.now_s)
        self.handler.setFormatter(TextFormatter())
        self.logger = logging.getLogger("dreamserve.tests")
        self.logger.addHandler(self.handler)
        self.logger.setLevel(logging.DEBUG)
        self.logger.propagate = False

    def problem(self, **fields: object) -> None:
        self.logger.info("problem", extra={"fields": fields})

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.logger.removeHandler(log.handler)


def test_an_event_is_one_line_of_text_with_its_fields(log: Log) -> None:
    log.problem(code="too_large", verb="step", duration_ms=1.25)
    (line,) = log.lines
    assert line.endswith(
        "Z INFO dreamserve.tests: problem code=too_large verb=step duration_ms=1.25"
    )


def test_an_event_is_one_object_of_json_with_its_fields(log: Log) -> None:
    log.handler.setFormatter(JsonFormatter())
    log.problem(code="too_large", status=413)
    event = json.loads(log.stream.getvalue())
    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "info",
        "logger": "dreamserve.tests",
        "message": "problem",
        "code": "too_large",
        "status": 413,
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
def test_no_field_can_forge_a_line_or_command_a_terminal(
    log: Log, formatter: logging.Formatter
) -> None:
    log.handler.setFormatter(formatter)
    log.problem(session_id=FORGED, code="y")
    log.logger.info("of another library: %s", FORGED)
    text = log.stream.getvalue()
    assert text.count("\n") == 2
    assert not [one for one in SEEN_AS if one in text.replace("\n", "", 2)]
    text.encode()


def test_a_value_cannot_be_taken_for_another_field(log: Log) -> None:
    log.problem(session_id='a" status=200 x="', path="/a b=c")
    assert log.lines[0].endswith(r'session_id="a\" status=200 x=\"" path="/a b=c"')


def test_in_json_a_field_cannot_replace_the_events_own(log: Log) -> None:
    log.handler.setFormatter(JsonFormatter())
    log.problem(level="debug", message="no problem")
    event = json.loads(log.stream.getvalue())
    assert (event["level"], event["message"]) == ("info", "problem")


def test_a_long_field_is_cut(log: Log) -> None:
    log.problem(session_id="x" * 100_000)
    assert len(log.stream.getvalue()) < 2000


def test_the_lines_of_a_traceback_cannot_be_taken_for_events(log: Log) -> None:
    try:
        raise ValueError(FORGED)
    except ValueError:
        log.logger.exception("problem")
    first, *rest = log.lines
    assert first.endswith("ERROR dreamserve.tests: problem")
    assert len(rest) > 3
    assert all(line.startswith("    | ") for line in rest)
    assert "\x1b" not in log.stream.getvalue()


def test_in_json_a_traceback_is_a_field(log: Log) -> None:
    log.handler.setFormatter(JsonFormatter())
    try:
        raise ValueError("why")
    except ValueError:
        log.logger.exception("problem")
    assert "ValueError: why" in json.loads(log.stream.getvalue())["exception"]


def test_a_flood_of_one_kind_is_cut_and_counted_and_hides_no_other_kind(log: Log) -> None:
    for _ in range(1000):
        log.problem(code="not_found")
    log.problem(code="too_large")
    assert len(log.lines) == 4
    log.now_s += 1
    log.handler.roll()
    assert log.lines[4].endswith(
        "WARNING dreamserve.tests: lines left out, in one second"
        " event=problem code=not_found count=997"
    )
    log.problem(code="not_found")
    assert len(log.lines) == 6


def test_what_was_left_out_is_counted_when_the_log_closes(log: Log) -> None:
    for _ in range(5):
        log.problem(code="not_found")
    log.handler.close()
    assert log.lines[-1].endswith("count=2")


def test_kinds_without_end_are_bounded_too(log: Log) -> None:
    for number in range(10_000):
        log.logger.info(f"of another library: {number}")
    assert len(log.lines) < 1000


def test_the_access_log_is_not_cut(log: Log) -> None:
    for _ in range(20):
        record = logging.LogRecord(ACCESS, logging.INFO, "", 0, "request", (), None)
        log.handler.handle(record)
    assert len(log.lines) == 20
