"""Which dead letters are open, how many by reason, and when the oldest was written."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from function.dead_letters.marks import BLOCK, Mark, Place
from function.dead_letters.open_letters import OpenLetters
from function.dead_letters.publish import REASON
from function.kafka.record import KafkaRecord, record_from
from function.telemetry.metrics import UNCOUNTED

TOPIC = "events.matrix.dead"


def letter(offset: int, reason: str = "not_json", partition: int = 0, time: int = 0) -> KafkaRecord:
    return record_from(TOPIC, partition, offset, time or 1_000 + offset, None, b"{}", [(REASON, reason.encode())])


def holding(*letters: KafkaRecord, limit: int = 1_000) -> OpenLetters:
    letters_of = OpenLetters(limit)
    letters_of.add(letters)
    return letters_of


def marks(*places: Place, time: int = 0) -> dict[Place, Mark]:
    return {place: Mark(time or 1_000 + place[1], 1, 5) for place in places}


def test_letters_count_by_reason_and_the_oldest_is_known() -> None:
    found = holding(letter(3), letter(4, "synapse_error"), letter(5, time=7), letter(0, partition=1))
    assert found.counts() == {"not_json": 3, "synapse_error": 1}
    assert found.oldest() == 7
    assert (found.next_offset(0), found.next_offset(1), found.next_offset(2)) == (6, 1, 0)


def test_a_letter_of_daprd_has_no_reason_and_a_strange_reason_is_not_shown() -> None:
    found = holding(record_from(TOPIC, 0, 0, 1, None, b"", []), letter(1, "Ada <ada@example.org>"))
    assert found.counts() == {"dapr_retries_exhausted": 1, "unknown": 1}


def test_a_producers_header_in_a_letter_of_daprd_is_no_reason() -> None:
    """The list of letters counts it the same way."""
    forged = [(REASON, b"not_json"), ("__topic", b"events"), ("__partition", b"0"), ("__offset", b"7")]
    found = holding(record_from(TOPIC, 0, 0, 1, None, b"{}", forged))
    assert found.counts() == {"dapr_retries_exhausted": 1}


def test_a_marked_letter_is_no_longer_open() -> None:
    found = holding(letter(0), letter(1), letter(0, partition=1))
    found.close(marks((0, 0), (1, 0)))
    assert found.counts() == {"not_json": 1}
    assert found.blocks() == [(0, 0)]
    found.close(marks((0, 1)))
    assert (found.counts(), found.oldest(), found.blocks()) == ({}, None, [])


def test_a_mark_of_an_earlier_topic_closes_nothing() -> None:
    found = holding(letter(0))
    found.close(marks((0, 0), time=5))
    assert found.counts() == {"not_json": 1}


def test_letters_that_kafka_has_deleted_are_dropped() -> None:
    found = holding(*(letter(offset) for offset in range(2 * BLOCK + 10)), limit=10_000)
    found.skip_to(0, BLOCK + 5)
    assert found.counts() == {"not_json": BLOCK + 5}
    assert found.blocks() == [(0, 1), (0, 2)]
    assert found.oldest() == 1_000 + BLOCK + 5


def test_a_topic_whose_beginning_is_further_on_is_read_from_there() -> None:
    found = holding()
    found.skip_to(0, 70)
    assert found.next_offset(0) == 70


def test_letters_over_the_limit_are_counted_without_their_reason_until_there_is_room() -> None:
    found = holding(*map(letter, range(10)), limit=4)
    assert found.counts() == {"not_json": 4, UNCOUNTED: 6}
    assert not found.has_room_again()
    found.close(marks((0, 0), (0, 1)))
    assert found.has_room_again()
    found.clear()
    assert (found.counts(), found.next_offset(0)) == ({}, 0)


@given(st.sets(st.integers(0, 3 * BLOCK), max_size=60), st.sets(st.integers(0, 3 * BLOCK)), st.integers(0, 3 * BLOCK))
def test_open_is_what_is_in_the_topic_without_a_mark(offsets: set[int], marked: set[int], low: int) -> None:
    found = holding(*(letter(offset) for offset in sorted(offsets)), limit=10_000)
    found.close(marks(*((0, offset) for offset in marked)))
    found.skip_to(0, low)
    left = sorted(offset for offset in offsets - marked if offset >= low)
    assert found.counts() == count(left)
    assert found.oldest() == (1_000 + left[0] if left else None)
    assert found.blocks() == sorted({(0, offset // BLOCK) for offset in left})


def count(left: Iterable[int]) -> dict[str, int]:
    number = len(list(left))
    return {"not_json": number} if number else {}
