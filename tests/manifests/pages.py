"""The commands of the pages in docs/: shell blocks, and those of `matrix-account-sync` in sentences and examples."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tests.manifests.rendering import ROOT


@dataclass(frozen=True)
class Block:
    """A block of shell commands; `number` counts those of its page."""

    page: str
    number: int
    heading: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}-{self.heading}"


def blocks(page: str) -> list[Block]:
    """The blocks of a page, each with the heading that it stands under; indentation of a list is removed."""
    return _found(page, r"^( *)```sh\n(?P<text>.*?)^\1```$")


def sentences(page: str) -> list[Block]:
    """The commands of a page's sentences, with or without the program's name in front, and of its examples' prompts.

    A word alone is a command only where it can be one: `replay` without options is mostly the name of a thing.
    """
    tools = r"(?:dead-letters|check|audit)(?: --?[^`\n]*)?|(?:replay|discard) --?[^`\n]*"
    return _found(page, rf"(?:`(?:matrix-account-sync )?|^\$ matrix-account-sync )(?P<text>{tools})(?:`|$)")


def code_of(page: Path) -> str:
    """The shell blocks of a page, with continued lines joined, and the code of its sentences; a line each."""
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return "\n".join([*re.findall(r"```sh\n(.*?)```", text, re.DOTALL), *spans])


def _found(page: str, pattern: str) -> list[Block]:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    blocks = []
    for number, match in enumerate(re.finditer(pattern, text, re.MULTILINE | re.DOTALL)):
        (heading,) = re.findall(r"^#+ (.*)$", text[: match.start()], re.MULTILINE)[-1:]
        blocks.append(Block(page, number, heading, textwrap.dedent(match["text"])))
    return blocks
