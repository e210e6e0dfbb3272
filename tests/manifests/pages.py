"""The shell blocks of the pages in docs/."""

import re
import textwrap
from dataclasses import dataclass

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
    text = (ROOT / "docs" / f"{page}.md").read_text()
    found = []
    for number, match in enumerate(re.finditer(r"^( *)```sh\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)):
        (heading,) = re.findall(r"^#+ (.*)$", text[: match.start()], re.MULTILINE)[-1:]
        found.append(Block(page, number, heading, textwrap.dedent(match[2])))
    return found
