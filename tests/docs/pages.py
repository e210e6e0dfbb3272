"""Reads the pages: their links, anchors and sections."""

import re
from pathlib import Path

from dev.contents import anchor

ROOT = Path(__file__).parents[2]
INDEX = ROOT / "docs" / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")), *DOCS]


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^\s*```.*?^\s*```$", "", page, flags=re.MULTILINE | re.DOTALL)


def anchors(page: str) -> set[str]:
    return {anchor(title) for title in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)}


def links(page: str) -> list[str]:
    """The targets of a page's links, without those to other sites."""
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in link]


def section(page: str, title: str) -> str:
    """What stands under a heading, to the next of the same level."""
    level = title.partition(" ")[0]
    found = re.search(rf"^{re.escape(title)}$\n(.*?)(?=^{level} |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title!r}"
    return found[1]
