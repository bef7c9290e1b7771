"""What all commands share: examples in their help, and errors told in one line."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

import typer
from typer.core import TyperGroup

from dreamserve import logs
from dreamserve.errors import SettingsError
from dreamserve_protocol.errors import DreamserveError

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it

log = logging.getLogger("dreamserve")


def examples(*lines: str) -> str:
    """Return the end of a help text; each example is a paragraph, so that it keeps its line."""
    return "\n\n".join(("Examples:", *lines))


@contextmanager
def telling_of_otel() -> Iterator[None]:
    """Raise SettingsError for what OpenTelemetry, which FastAPI imports, refuses of OTEL_*."""
    try:
        yield
    except ValueError as error:
        frames = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
        if not any(name.startswith("opentelemetry") for name in frames):
            raise
        raise SettingsError(f"the variables OTEL_* cannot be used: {error}") from error


class Commands(TyperGroup):
    """The commands; an expected error of any of them becomes a line on stderr and a status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except DreamserveError as error:
            _end(str(error), 1)
        except KeyboardInterrupt:
            _end("interrupted", INTERRUPTED)
        except MemoryError as error:
            _end(f"not enough memory ({error}); choose a smaller --capacity", 1)
        except BrokenPipeError:
            raise  # typer ends quietly: the reader of our output has left
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            _end(f"{where}{error.strerror or error}", 1)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that was named; a bundle in its place is a common mistake."""
        if args[0] not in self.commands and Path(args[0]).is_dir():
            ctx.fail(f"{args[0]} is a folder; to serve it: dreamserve serve {args[0]}")
        return super().resolve_command(ctx, args)


def _end(message: str, status: int) -> None:
    if logs.are_json():
        log.error("ended by an error", extra={"fields": {"reason": message, "status": status}})
    else:
        typer.echo(f"dreamserve: {message}", err=True)
    raise typer.Exit(status)
