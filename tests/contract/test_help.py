"""The help of every command of both programs ends with an example of it."""

import pytest
import typer
from typer.testing import CliRunner

from dreamserve import cli as service_cli
from dreamserve_training import cli as training_cli

PROGRAMS = {"dreamserve": service_cli.main, "dreamserve-train": training_cli.app}
COMMANDS = [
    (program, name)
    for program, app in PROGRAMS.items()
    for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
    if not command.hidden
]


def help_of(program: str, *arguments: str) -> str:
    result = CliRunner().invoke(PROGRAMS[program], [*arguments, "--help"])
    assert result.exit_code == 0
    return " ".join(result.stdout.split())


@pytest.mark.parametrize(("program", "command"), COMMANDS)
def test_the_help_of_a_command_has_an_example_of_it(program: str, command: str) -> None:
    message = help_of(program, command)
    assert f"{program} {command}" in message.rpartition("Example")[2]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_help_of_a_program_has_an_example_and_names_its_commands(program: str) -> None:
    message = help_of(program)
    assert program in message.rpartition("Example")[2]
    assert all(name in message for owner, name in COMMANDS if owner == program)
