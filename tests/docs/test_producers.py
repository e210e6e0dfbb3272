"""The page for producers: what its examples say is what becomes of the records."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from function.cli.record_file import read_record
from function.events.types import EventType
from function.processing.forecast import Prospect, forecast
from tests.docs.contract import CONTRACT, conforming, conforms_to_a_file

PAGE = (Path(__file__).parents[2] / "docs" / "producers.md").read_text()
EXAMPLES = dict(re.findall(r"^### (\S+)\n.*?```json\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL))
NOW = datetime(2026, 2, 1, tzinfo=UTC)


def test_every_event_has_an_example() -> None:
    assert list(EXAMPLES) == list(EventType)


@pytest.mark.parametrize("kind", EventType)
def test_an_example_is_accepted_without_a_note_and_conforms_to_the_contract(kind: EventType) -> None:
    text = EXAMPLES[kind]
    found = read_record(1, text.encode())
    told = forecast(found.record, NOW, whole=found.whole)
    assert (told.prospect, told.event_type, told.notes) == (Prospect.ACCEPTED, kind, ())
    record = json.loads(text)
    assert conforming(record["payload"], record["headers"])
    assert conforms_to_a_file(record["payload"], record["headers"], record["key"])


def test_the_records_that_are_tried_are_judged_as_the_page_says() -> None:
    [lines] = re.findall(r"```json\n(.*?)\n```", PAGE.partition("## Try it")[2], re.DOTALL)
    records = [read_record(number, line.encode()) for number, line in enumerate(lines.splitlines(), start=1)]
    told = [forecast(one.record, NOW, whole=one.whole) for one in records]
    assert [one.prospect for one in told] == [Prospect.ACCEPTED, Prospect.DEAD_LETTER, Prospect.DEAD_LETTER]
    assert told[0].notes


def test_every_file_of_the_contract_is_linked() -> None:
    assert set(re.findall(r"\(contract/([\w.-]+)\)", PAGE)) == {path.name for path in CONTRACT.iterdir()}
