"""What all commands have in common: help, output, exit codes."""

import os
import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from dev.reference import codes_of
from function import __version__
from function.cli import cli
from function.cli.exit_codes import ExitCode

COMMANDS: dict[str, Any] = getattr(get_command(cli), "commands", {})
RUNNER = CliRunner()


@pytest.mark.parametrize("words", [["-h"], ["--help"], *([name, "-h"] for name in COMMANDS)])
def test_help_is_there_by_both_names_for_every_command(words: list[str]) -> None:
    done = RUNNER.invoke(cli, words, prog_name="matrix-account-sync")
    assert done.exit_code == 0
    assert "Usage: matrix-account-sync" in done.stdout


def test_the_version_is_told() -> None:
    done = RUNNER.invoke(cli, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_lists_exit_codes_of_the_table_and_no_other(name: str) -> None:
    """Each command can meet a wrong setting, and each that ends by itself can be done."""
    codes = codes_of(COMMANDS[name].help)
    assert codes <= set(ExitCode)
    assert ExitCode.INVALID in codes
    served = {ExitCode.TERMINATED} if name == "serve" else {ExitCode.DONE, ExitCode.CUT_SHORT, ExitCode.INTERRUPTED}
    assert served <= codes


def test_every_exit_code_of_the_table_is_one_of_a_command() -> None:
    assert {code for command in COMMANDS.values() for code in codes_of(command.help)} == set(ExitCode)


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"serve"}))
def test_every_command_that_prints_a_result_can_print_it_as_json(name: str) -> None:
    options = {option for one in COMMANDS[name].params for option in one.opts}
    assert {"--output", "-o", "--json"} <= options


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistyped_option_is_an_error_on_standard_error_with_the_right_name(name: str) -> None:
    done = RUNNER.invoke(cli, [name, "--hlep"], prog_name="matrix-account-sync", env={"COLUMNS": "200"})
    assert (done.exit_code, done.stdout) == (2, "")
    assert "No such option: --hlep" in done.stderr
    assert f"matrix-account-sync {name}" in done.stderr


@pytest.mark.parametrize("words", [[], ["dead-letters", "-h"], ["replay", "-h"], ["dead-letters", "--reason", "x"]])
def test_help_and_errors_are_readable_without_utf_8(words: list[str]) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", "function", *words], env=environment, capture_output=True, timeout=60, check=False
    )
    assert done.returncode in {0, 2}
    assert (done.stdout + done.stderr).isascii()
    assert b"Traceback" not in done.stderr
    assert max(map(len, (done.stdout + done.stderr).splitlines())) <= 80
