"""The pages lead to each other: every link ends somewhere, every page is in the index, and a long page has a table of contents."""

from pathlib import Path

import pytest

from dev.contents import LONG, anchor, contents, headings
from tests.docs.pages import DOCS, INDEX, PAGES, ROOT, anchors, links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in links(page.read_text()):
        path, _, named = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if named:
            assert named in anchors(target.read_text()), link


def test_the_readme_leads_to_the_index_and_the_index_to_every_page() -> None:
    assert "docs/README.md" in links((ROOT / "README.md").read_text())
    listed = {(INDEX.parent / link.partition("#")[0]).resolve() for link in links(INDEX.read_text())}
    assert [page.name for page in PAGES if page.resolve() not in listed | {INDEX}] == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_a_long_page_has_contents_and_a_short_one_has_none(page: Path) -> None:
    """`make docs` writes them from the headings; a test of the reference pages compares."""
    text = page.read_text()
    assert ("contents(cog.inFile)" in text) == (len(text.splitlines()) > LONG)


def test_contents_link_every_section_in_order_and_none_from_a_block(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n## What `check` does\n\n```sh\n## no heading\n```\n\n### Small\n\n## It's 2\n")
    assert list(headings(page.read_text())) == ["What `check` does", "It's 2"]
    assert contents(str(page)) == "On this page: [What `check` does](#what-check-does), [It's 2](#its-2)."
    assert anchor("3. Topics") == "3-topics"
