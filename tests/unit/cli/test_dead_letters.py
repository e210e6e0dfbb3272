"""The tables of `dead-letters`."""

from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from function.cli.dead_letters import tables
from function.dead_letters.publish import DETAIL, REASON, TIME
from function.dead_letters.summary import Summary
from function.outcomes import Reason
from tests.support.dead_letters import HEADERS, letter


def shown(summary: Summary) -> str:
    console = Console(file=StringIO(), width=200)
    for table in tables(summary):
        console.print(table)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_tables_say_what_to_do_about_each_reason() -> None:
    """One command for the person on call."""
    summary = Summary(newest=20)
    summary.add(letter())
    summary.add(letter({REASON: "not_json"}))
    text = shown(summary)
    assert Reason.SYNAPSE_ERROR.replay in text
    assert Reason.NOT_JSON.todo in text
    assert "Letters: all" in text


def test_the_list_has_the_newest_letters() -> None:
    summary = Summary(newest=3)
    for day in (4, 1, 9, 7, 2):
        summary.add(letter({TIME: f"2026-01-0{day}T00:00:00+00:00"}))
    assert "the newest 3 of 5" in shown(summary)


def test_brackets_in_a_header_are_not_markup() -> None:
    """Headers are untrusted text."""
    summary = Summary(5)
    summary.add(letter({DETAIL: "[red]x[/nonsense]"}))
    assert "[red]x[/nonsense]" in shown(summary)


@given(st.binary(max_size=60), st.dictionaries(st.sampled_from(sorted(HEADERS)), st.text(max_size=30)))
def test_a_letter_with_malformed_headers_is_listed(value: bytes, headers: dict[str, str]) -> None:
    summary = Summary(5)
    summary.add(letter(headers, value=value))
    assert shown(summary)
