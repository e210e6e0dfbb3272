"""The word list finds what it lists, and nothing that only looks alike."""

import pytest

from dev.prose import WORDS, advice, checked_files, findings


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("Nobody reads it.", "Nobody"),
        ("# mends what differs", "mends"),
        ("The world is away.", "The world"),
        ("said as `somebody else` would", "somebody else"),
        ("waits for ever", "for ever"),
    ],
)
def test_a_listed_word_is_found_with_advice(line: str, word: str) -> None:
    assert list(findings(f"fine\n{line}")) == [(2, word)]
    assert advice(word)


@pytest.mark.parametrize("line", ["sickness", "a recommended way", "tests/besides.py", "nobody-else-here", "worldwide"])
def test_a_word_inside_another_is_not_found(line: str) -> None:
    assert not list(findings(line))


def test_code_pages_and_manifests_are_checked_and_the_list_itself_is_not() -> None:
    checked = {file.name for file in checked_files()}
    assert {"batch.py", "README.md", "runbook.md", "alerts.yaml", "Makefile", "Dockerfile"} <= checked
    assert "prose.py" not in checked
    assert len(WORDS) >= 25
