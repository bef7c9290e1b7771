"""Log lines: for people or as JSON, one an event; no input can forge them, or fill a disk.

An event has a constant message and `fields`, a dict in the argument `extra` of the logging call.
What may come from a client is a field, never the message.
"""

import json
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import IO, Any

ACCESS = "dreamserve.access"  # the logger of the access log, which is not bounded in rate
_KINDS = 256  # kinds of events that are counted apart
_SHOWN = 1000  # characters of a field
_PLAIN = frozenset("-_.:/+,%@~")  # beside letters and digits, in text without quotes


def set_up(level: str, as_json: bool, lines_per_s: int, stream: IO[str] | None = None) -> None:
    """Send all log lines of this process, uvicorn's too, to `stream` (by default stderr)."""
    handler = BoundedHandler(stream or sys.stderr, lines_per_s)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class BoundedHandler(logging.StreamHandler[Any]):
    """Writes at most `lines_per_s` lines a second of one kind, then how many there were beyond.

    A kind is a logger's message, with its field `code`.
    """

    def __init__(
        self, stream: Any, lines_per_s: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream)
        self._most, self._clock = lines_per_s, clock
        self._second = -1
        self._counts: OrderedDict[tuple[str, ...], int] = OrderedDict()  # in this second

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, unless there were too many of its kind."""
        self.roll()
        if record.name != ACCESS:
            kind = (record.name, str(record.msg)[:_SHOWN], str(fields_of(record).get("code", "")))
            if kind not in self._counts and len(self._counts) >= _KINDS:
                kind = ("", "other events", "")
            count = self._counts[kind] = self._counts.get(kind, 0) + 1
            if count > self._most:
                return
        super().emit(record)

    def leaves_out(self, kind: tuple[str, ...]) -> bool:
        """Count an event whose line would be beyond the rate; return whether it would be."""
        with self.lock or nullcontext():
            self.roll()
            if self._counts.get(kind, 0) < self._most:
                return False
            self._counts[kind] += 1
            return True

    def roll(self) -> None:
        """Begin a new second if it is time, and write what the last one left out."""
        second = int(self._clock())
        if second == self._second:
            return
        counts, self._counts, self._second = self._counts, OrderedDict(), second
        for (name, message, code), count in counts.items():
            if count > self._most:
                fields = {"event": message, "code": code, "count": count - self._most}
                line = logging.LogRecord(
                    name, logging.WARNING, "", 0, "lines left out, in one second", (), None
                )
                line.fields = {key: value for key, value in fields.items() if value}
                super().emit(line)

    def close(self) -> None:
        """Write what was left out, and close."""
        self._second = -1
        self.roll()
        super().close()


def are_json() -> bool:
    """Return whether log lines are JSON, as `set_up` wanted them."""
    formatters = [handler.formatter for handler in logging.getLogger().handlers]
    return any(isinstance(one, JsonFormatter) for one in formatters)


def leaves_out(logger: str, message: str, code: str) -> bool:
    """Return whether the line of an event would be left out because of its rate; then count it.

    Making a line takes longer than a step.
    """
    handlers = logging.getLogger().handlers
    only = handlers[0] if len(handlers) == 1 else None
    return isinstance(only, BoundedHandler) and only.leaves_out((logger, message, code))


def roll() -> None:
    """Write what the last second left out; to be called at least once a second."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, BoundedHandler) and handler.lock is not None:
            with handler.lock:
                handler.roll()


def fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    """Return a record's fields."""
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return fields


def printable(text: str) -> str:
    """Return a text with everything but printable characters escaped.

    Escaped are control characters, line breaks of any kind, ANSI escapes, and what changes the
    direction of the text.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


class TextFormatter(logging.Formatter):
    """TIME LEVEL LOGGER: MESSAGE NAME=VALUE …; the lines of a traceback are indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return an event as text."""
        line = f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}"
        fields = (f"{name}={_value(value)}" for name, value in fields_of(record).items())
        lines = [printable(" ".join([line, *fields]))]
        lines += (f"    | {printable(part)}" for part in _traceback(record).splitlines())
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """An object on one line: time, level, logger, message, the event's fields, and exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return an event as JSON, in ASCII."""
        event: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        event |= {name: value for name, value in fields_of(record).items() if name not in event}
        if traceback := _traceback(record):
            event["exception"] = traceback
        return json.dumps(_cut(event), default=str).replace("\x7f", "\\u007f")


def _cut(event: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value[:_SHOWN] if isinstance(value, str) and name != "exception" else value
        for name, value in event.items()
    }


def _value(value: Any) -> str:
    """Return a field's value as text, in quotes where it could be taken for more than one field."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)[:_SHOWN]
    if text and all(one.isalnum() or one in _PLAIN for one in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(record: logging.LogRecord) -> str:
    return logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
