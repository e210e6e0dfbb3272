"""The commands and examples of docs/deploy.md, for the tests that compare them with the manifests and for those that run
them."""

import re

from tests.manifests.rendering import ROOT

PAGE = (ROOT / "docs" / "deploy.md").read_text()


def scripts(title: str, language: str = "sh") -> list[str]:
    """The blocks of a language under a heading, up to the next heading of any level."""
    found = re.search(
        rf"^#+ {re.escape(title)}$\n(.*?)(?=^#+ \D|^### |\Z)", _headings_only(PAGE), re.MULTILINE | re.DOTALL
    )
    assert found, f"no section {title!r}"
    return re.findall(rf"```{language}\n(.*?)```", found[1].replace("\0", "#"), re.DOTALL)


def _headings_only(page: str) -> str:
    """The page with the comments of its blocks made unlike headings."""
    return re.sub(r"```(?:sh|yaml)\n.*?```", lambda block: block[0].replace("#", "\0"), page, flags=re.DOTALL)
