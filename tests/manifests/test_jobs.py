"""The Jobs for dead letters and their commands in docs/dead-letters.md."""

from typing import Any

import pytest
from typer.main import get_command

from function.cli import cli
from tests.manifests.rendering import COMMANDS, dig, render

STAGING = render("staging")


def arguments(command: str) -> Any:
    return dig(STAGING.job(command), "spec", "jobTemplate", "spec", "template", "spec", "containers", 0, "args")


@pytest.mark.parametrize("command", COMMANDS)
def test_its_arguments_are_ones_that_the_command_knows(command: str) -> None:
    first, *options = arguments(command)
    assert first == command
    known = {option for one in getattr(get_command(cli), "commands", {})[command].params for option in one.opts}
    assert set(options) <= known


def test_the_replay_job_publishes_nothing_until_somebody_says_so() -> None:
    assert "--dry-run" in arguments("replay")
