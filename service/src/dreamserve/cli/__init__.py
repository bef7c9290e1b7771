"""The command `dreamserve`: serve | inspect | doctor | openapi.

Exit status: 0 for success, 1 for an error told in one line or a problem that `doctor` found, 2 for
a command line that makes no sense, 130 after Ctrl-C. What a command needs is imported when it runs.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from dreamserve import __version__
from dreamserve.cli.group import Commands, examples
from dreamserve.cli.options import Bundles, takes_settings

main = typer.Typer(
    cls=Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    help="Serve world models: stateful, batched dream sessions over HTTP.",
    epilog=examples("dreamserve serve", "dreamserve doctor", "dreamserve serve --help"),
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dreamserve {__version__}")
        raise typer.Exit


@main.callback()
def every_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command; its help is that of the whole program."""


@main.command(
    epilog=examples(
        "dreamserve serve",
        "dreamserve serve my-world other-world --host 0.0.0.0 --port 9000",
        "DREAMSERVE_CAPACITY=500 dreamserve serve my-world --backend torch",
    )
)
@takes_settings(
    "host", "port", "backend", "threads", "precision", "capacity", "session_ttl_s", "drain_s",
    "log_level",
)  # fmt: skip
def serve(bundles: Bundles, given: dict[str, Any]) -> None:
    """Serve worlds over HTTP until SIGTERM or Ctrl-C.

    Every option has an environment variable: for --session-ttl-s it is DREAMSERVE_SESSION_TTL_S.
    """
    from dreamserve.cli.stopping import exit_when_told

    exit_when_told()  # first: what is imported next takes a while
    from dreamserve.cli.serving import run

    run(bundles, given)


@main.command(epilog=examples("dreamserve inspect my-world", "dreamserve inspect my-world --json"))
def inspect(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", metavar="BUNDLE")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON with the whole manifest.")
    ] = False,
) -> None:
    """Verify a bundle's files and print what it is and how good it is."""
    from dreamserve.cli.card import print_card, print_json

    (print_json if as_json else print_card)(bundle)


@main.command(
    epilog=examples("dreamserve doctor", "dreamserve doctor my-world --backend torch --port 9000")
)
@takes_settings("host", "port", "backend", "threads", "precision")
def doctor(bundles: Bundles, given: dict[str, Any]) -> None:
    """Check installation, devices, port, bundles and speed; exit with 1 if there is a problem."""
    from dreamserve.cli.diagnosis import run

    raise typer.Exit(run(bundles, given))


@main.command(epilog=examples("dreamserve openapi > openapi.json"))
def openapi() -> None:
    """Print the OpenAPI document of the server's API."""
    import orjson

    from dreamserve.api.app import openapi_document

    typer.echo(orjson.dumps(openapi_document(), option=orjson.OPT_INDENT_2))
