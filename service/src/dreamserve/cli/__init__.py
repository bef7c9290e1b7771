"""The command `dreamserve`: serve | health | inspect | check | doctor | openapi | key new.

Exit status: 0 for success, 1 for an error told in one line or a problem that `doctor` found, 2 for
a command line that makes no sense, 130 after Ctrl-C. What a command needs is imported when it runs.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from dreamserve import __version__, logs
from dreamserve.cli.group import Commands, examples, telling_of_otel
from dreamserve.cli.options import Bundles, takes_settings
from dreamserve.settings import logs_as_json

ERROR_LINES_PER_S = 10  # until the settings say how many

main = typer.Typer(
    cls=Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    help="Serve world models: stateful, batched dream sessions over HTTP.",
    epilog=examples("dreamserve serve", "dreamserve doctor", "dreamserve serve --help"),
)  # fmt: skip


def command_named(name: str) -> Any:
    """Return a command, which can parse its options."""
    return typer.main.get_command(main).commands[name]  # type: ignore[attr-defined]  # a group


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
        "DREAMSERVE_CAPACITY=500 dreamserve serve my-world --backend torch --trust-torchscript",
    )
)
@takes_settings(
    "host", "port", "backend", "threads", "precision", "trust_torchscript", "capacity",
    "session_ttl_s", "store", "durability", "drain_s", "log_level", "log_format", "access_log",
    "traces", "api_keys_file", "root_path", "tls_cert", "tls_key",
)  # fmt: skip
def serve(bundles: Bundles, given: dict[str, Any]) -> None:
    """Serve worlds over HTTP until SIGTERM or Ctrl-C.

    Every option has an environment variable: for --session-ttl-s it is DREAMSERVE_SESSION_TTL_S.
    """
    from dreamserve.cli.stopping import exit_when_told

    exit_when_told()  # first: what is imported next takes a while
    if logs_as_json(given):  # an error may come before all settings are known
        logs.set_up("error", True, ERROR_LINES_PER_S)
    from dreamserve.backends.trial_start import ready_process

    with ready_process():  # it starts while the server is imported
        with telling_of_otel():
            from dreamserve.cli.serving import run

        run(bundles, given)


@main.command(epilog=examples("dreamserve health", "dreamserve health --port 9000"))
@takes_settings("host", "port", bundles=False)
def health(given: dict[str, Any]) -> None:
    """Ask this machine's server whether it is ready; exit with 1 if it is not.

    The port is that of the settings; in a container, that of the server's own command line.
    """
    from dreamserve.cli.health import run

    run(given, command_named("serve"))


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


@main.command(epilog=examples("dreamserve check my-world", "dreamserve check my-world --json"))
def check(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", metavar="BUNDLE")],
    strict: Annotated[bool, typer.Option("--strict", help="Fail for warnings, too.")] = False,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust-torchscript", help="Run the bundle's TorchScript, and compare it with ONNX."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold a bundle to the whole contract of docs/bundle.md; exit with 1 if it breaks it."""
    from dreamserve.cli.conformance import run

    given = {"trust_torchscript": True} if trust else {}
    raise typer.Exit(run(bundle, given, strict=strict, as_json=as_json))


@main.command(
    epilog=examples("dreamserve doctor", "dreamserve doctor my-world --backend onnx --port 9000")
)
@takes_settings("host", "port", "backend", "threads", "precision", "trust_torchscript", "store")
def doctor(bundles: Bundles, given: dict[str, Any]) -> None:
    """Check what serving needs, the store too, and speed; exit with 1 if there is a problem."""
    from dreamserve.cli.diagnosis import run

    raise typer.Exit(run(bundles, given))


@main.command(epilog=examples("dreamserve openapi > openapi.json"))
def openapi() -> None:
    """Print the OpenAPI document of the server's API."""
    import orjson

    with telling_of_otel():
        from dreamserve.api.app import openapi_document

    typer.echo(orjson.dumps(openapi_document(), option=orjson.OPT_INDENT_2))


keys = typer.Typer(
    no_args_is_help=True,
    help="Make API keys.",
    epilog=examples("dreamserve key new robots >> api-keys"),
)
main.add_typer(keys, name="key")


@keys.command(
    epilog=examples(
        "dreamserve key new robots >> api-keys", "dreamserve key new root --admin >> api-keys"
    )
)
def new(
    name: Annotated[
        str, typer.Argument(help="Name of the key, the owner of its sessions.", metavar="NAME")
    ],
    admin: Annotated[
        bool, typer.Option("--admin", help="The key may list and end everybody's sessions.")
    ] = False,
) -> None:
    """Print a new API key on stderr, once, and its entry for the file of keys on stdout."""
    from dreamserve.api.access.keys import entry_for, new_key

    key = new_key()
    entry = entry_for(name, key, admin=admin)
    typer.echo(f"The API key of {name}, which is stored nowhere: {key}", err=True)
    typer.echo(entry, nl=False)
