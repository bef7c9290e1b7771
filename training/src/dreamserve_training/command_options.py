"""Options that several commands share, and what is printed below their --help."""

import inspect
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from dreamserve_training.runs.pools import ExecutorName, using

RecipeName = Annotated[
    str, typer.Argument(help="A recipe's file, e.g. ./cartpole.py, or the name takecover.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Working directory of the stages. Default: runs/RECIPE."),
]
Bundle = Annotated[
    Path | None,
    typer.Option("--bundle", help="Folder of the bundle to write. Default: bundles/RECIPE."),
]
IterationNumber = Annotated[
    int, typer.Option("--iteration", help="Which iteration of the recipe; 0 is the first pass.")
]
Restart = Annotated[
    bool,
    typer.Option("--restart", help="Remove what was made with other settings or data; start over."),
]
TrustTorchscript = Annotated[
    bool,
    typer.Option(
        "--trust-torchscript",
        help="Run the bundle's TorchScript too, which can do what this user can.",
    ),
]
Workers = Annotated[
    ExecutorName,
    typer.Option(
        "--executor",
        help="Where episodes are played: processes of this machine, or a Ray cluster"
        " (RAY_ADDRESS; without it, one that is started here).",
    ),
]


def on_workers(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option --executor to a command that plays episodes."""

    @wraps(command)
    def run(*arguments: Any, executor: ExecutorName, **named: Any) -> None:
        with using(executor):
            command(*arguments, **named)

    signature = inspect.signature(command)
    added = inspect.Parameter(
        "executor", inspect.Parameter.KEYWORD_ONLY, default="local", annotation=Workers
    )
    parameters = [*signature.parameters.values(), added]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "executor": Workers}
    return run


def refuse_options(context: typer.Context, names: Collection[str], applies_to: str) -> None:
    """Refuse the parameters `names` that the command line gives, because nothing would read them.

    `applies_to` says what they are for.
    """
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name in names and source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"{parameter.opts[0]}: for {applies_to} only")


def example(arguments: str) -> str:
    """Return a command's example, for the end of its --help."""
    return f"Example: dreamserve-train {arguments}"
