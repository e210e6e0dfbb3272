"""The commands of ours in the pages, in blocks and in sentences, have names, options and values that exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from function.cli import cli
from tests.docs.pages import PAGES
from tests.manifests.pages import code_of

COMMANDS = getattr(get_command(cli), "commands", {})


def commands(page: Path) -> Iterator[list[str]]:
    """Yields the words of each command of ours, in blocks and in sentences."""
    names = "|".join(COMMANDS)
    for found in re.findall(rf"matrix-account-sync ((?:{names})\b(?!.*\.\.\.)[^\n|<>&;]*)", code_of(page)):
        yield shlex.split(found.partition("  #")[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_ours_in_a_page_has_options_that_exist(page: Path) -> None:
    """A missing option or argument is no mistake in a sentence."""
    for name, *words in commands(page):
        try:
            COMMANDS[name].make_context(name, words)
        except typer.BadParameter as wrong:
            if not str(wrong).startswith("Missing parameter"):
                raise


def test_an_option_that_does_not_exist_is_found(tmp_path: Path) -> None:
    """The control of the test above."""
    page = tmp_path / "page.md"
    page.write_text("Run `matrix-account-sync replay --raeson not_json`.")
    with pytest.raises(Exception, match="raeson"):
        test_every_command_of_ours_in_a_page_has_options_that_exist(page)
