"""The command line: the Typer app and its commands, each in its own file."""

from typing import Annotated

import typer

from function import __version__
from function.cli import audit, check, dead_letters, discard, replay, serve, validate, warm_up
from function.cli.output import Commands, accept_any_encoding

cli = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Keeps Matrix accounts in step with an identity service. Settings are environment variables; see the README.",
)


def main(commands: typer.Typer = cli) -> None:
    """Runs the console script."""
    accept_any_encoding()
    commands()


def _print_version(requested: bool) -> None:
    if requested:
        print(__version__)
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Takes the options of all commands."""


cli.command("serve")(serve.command)
cli.command("check")(check.command)
cli.command("audit")(audit.command)
cli.command("warm-up")(warm_up.command)
cli.command("dead-letters")(dead_letters.command)
cli.command("replay")(replay.command)
cli.command("discard")(discard.command)
cli.command("validate")(validate.command)
