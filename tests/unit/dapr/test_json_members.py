"""Reading an object member by member gives what reading it at once gives, however the text is cut into pieces."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from function.dapr.json_members import WINDOW_BYTES, members, members_at_once

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(max_size=5).filter(lambda name: name != "entries")


def pieces(text: bytes, size: int) -> list[bytes]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def read(text: bytes, size: int = 1 << 30) -> list[tuple[str, Any]]:
    return list(members(pieces(text, size), "entries"))


@given(
    st.dictionaries(NAMES, JSON, max_size=3), st.lists(JSON, max_size=4), st.integers(1, 9), st.sampled_from([None, 1])
)
def test_every_member_and_every_element_is_read(
    others: dict[str, Any], entries: list[Any], size: int, indent: int | None
) -> None:
    text = json.dumps(others | {"entries": entries}, indent=indent, ensure_ascii=False)
    expected = [*others.items(), *(("entries", entry) for entry in entries)]
    assert read(text.encode(), size) == expected
    assert members_at_once(text.encode(), "entries") == expected
    assert members_at_once(b'{"topic": "t", "entries": [1, {}]}', "entries") == [
        ("topic", "t"),
        ("entries", 1),
        ("entries", {}),
    ]


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,0 entriesn', max_size=40).map(str.encode), st.integers(1, 9))
@example(b'{"entries": [1,]}', 1)
@example(b'{"entries": [1 2]}', 1)
@example(b'{"entries": []} x', 1)
@example(b'{0: 0, "entries": []}', 1)
@example(b'{"entries": [],}', 1)
def test_text_that_is_not_json_is_refused_as_python_refuses_it(text: bytes, size: int) -> None:
    try:
        whole = json.loads(text.decode("utf-8", "replace"))
        sound = isinstance(whole, dict) and isinstance(whole["entries"], list)
    except (ValueError, KeyError):
        sound = False
    if sound:
        read(text, size)
        return
    assert members_at_once(text, "entries") is None
    with pytest.raises(ValueError):  # noqa: PT011 - any of the parser's
        read(text, size)


def test_a_value_may_be_longer_than_a_window_and_lie_across_its_edge() -> None:
    long, number = "x" * (5 * WINDOW_BYTES), "9" * 4000
    text = f'{{"a": "{"y" * (WINDOW_BYTES - 2000)}", "n": {number}, "entries": ["{long}", "é", {number}]}}'
    (_, a), (_, n), *entries = read(text.encode(), 65_536)
    assert len(a) == WINDOW_BYTES - 2000
    assert n == int(number)
    assert [entry for _, entry in entries] == [long, "é", int(number)]


def test_characters_are_whole_although_pieces_are_cut_within_them() -> None:
    assert read('{"entries": ["ü🦊"]}'.encode(), 1) == [("entries", "ü🦊")]


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    assert read(b'{"entries": ["\xff"]}') == [("entries", "\ufffd")]


def test_the_text_is_taken_only_as_far_as_it_is_read() -> None:
    """So that a large batch is in memory once."""
    taken = 0

    def endless() -> Any:
        nonlocal taken
        yield b'{"entries": ['
        while True:
            taken += 1
            yield b'"' + b"x" * WINDOW_BYTES + b'",'

    found = members(endless(), "entries")
    for _ in range(10):
        next(found)
    assert taken <= 12


def test_nesting_beyond_the_interpreters_limit_is_an_error_that_the_caller_knows() -> None:
    with pytest.raises(RecursionError):
        read(b'{"entries": [' + b"[" * 100_000)
