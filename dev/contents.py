"""Writes the table of contents of a long page from its headings; the cog block at the top of the page calls it."""

import re
from collections.abc import Iterator
from pathlib import Path

LONG = 150  # lines; a longer page needs contents
COLUMNS = 140


def headings(text: str) -> Iterator[str]:
    """Yields the titles of a page's sections."""
    without_blocks = re.sub(r"^\s*```.*?^\s*```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"^## (.+)$", without_blocks, re.MULTILINE)


def anchor(title: str) -> str:
    """Returns the anchor that forges give to a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def contents(page: str) -> str:
    """Returns links to the sections of the page at that path, in lines of limited length."""
    lines = ["On this page:"]
    links = [f"[{title}](#{anchor(title)})" for title in headings(Path(page).read_text())]
    for link in [*(f"{one}," for one in links[:-1]), f"{links[-1]}."]:
        if len(lines[-1]) + len(link) < COLUMNS:
            lines[-1] += f" {link}"
        else:
            lines.append(link)
    return "\n".join(lines)
