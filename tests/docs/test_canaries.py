"""Each fact that the page of canaries lists has the test that it names, and each canary is on the page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "canaries.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
FILES = sorted(
    {
        file
        for row in PAGE.splitlines()
        if row.startswith("|")
        for file in re.findall(r"`((?:function|k8s)/[\w/.-]+)`", row)
    }
)
CANARIES = sorted((ROOT / "tests" / "contract" / "canaries").glob("test_*.py"))


def names_in(file: Path) -> set[str]:
    return set(re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_each_test_that_is_named_exists(file: str, test: str) -> None:
    assert test in names_in(ROOT / file)


@pytest.mark.parametrize("file", FILES)
def test_each_file_that_becomes_simpler_exists(file: str) -> None:
    assert (ROOT / file).is_file()


def test_every_canary_is_listed() -> None:
    found = {(file.relative_to(ROOT).as_posix(), test) for file in CANARIES for test in names_in(file)}
    assert found
    assert found <= set(NAMED)
