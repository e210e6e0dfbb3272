"""What `dead-letters` prints and how it ends, on the fakes."""

import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from function.cli.dead_letters import run
from function.cli.dead_letters_report import Style
from function.cli.listing import Asked
from function.dead_letters.filter import DeadLetterFilter
from function.dead_letters.marks import Mark, Marks
from function.dead_letters.selection import Selection
from function.kafka.client import ClientConfig
from function.settings import ToolSettings
from tests.support.dead_letters import DEAD, HEADERS, letter
from tests.support.events import ALICE, profile_payload
from tests.support.fake_dapr import FakeStateStore
from tests.support.fake_kafka import FakeStream, FakeTopics

pytestmark = pytest.mark.anyio

SETTINGS = ToolSettings.model_validate({"kafka_brokers": "127.0.0.1:9"})
JSON = Style(as_json=True)
BODY = json.dumps(profile_payload(display_name="Ada Lovelace")).encode()


class World:
    """A topic of dead letters, its marks, and one run."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.topics, self.store, self._capsys = FakeTopics(time=1762000000000), FakeStateStore(), capsys
        self.marks = Marks(self.store, DEAD)
        self.cut_after: int | None = None
        self.down = False
        self.said = ""

    def put(self, *reasons: str, partition: str = "0") -> None:
        for reason in reasons:
            headers = HEADERS | {"x-dead-letter-reason": reason}
            self.topics.put(DEAD, BODY, headers | {"__key": ALICE}, partition)

    async def mark(self, offset: int, replays: int = 1, why: str = "", time: int = 0) -> None:
        found = int(self.topics.records[DEAD][offset].kafka_field("timestamp"))
        await self.marks.add({(0, offset): Mark(time or found, replays, 1762000300, why)})

    async def run(self, asked: Asked) -> tuple[int, str]:
        """Returns exit code and standard output."""

        @contextlib.asynccontextmanager
        async def store(_: ToolSettings) -> AsyncIterator[FakeStateStore]:
            yield self.store

        @contextlib.asynccontextmanager
        async def topic(_: ClientConfig, name: str) -> AsyncIterator[FakeStream]:
            stream = self.topics.stream(name, batch=2)
            stream.cut_after, stream.down = self.cut_after, self.down
            yield stream

        code = await run(SETTINGS, asked, store, topic)
        printed, self.said = self._capsys.readouterr()
        return code, printed

    async def json(self, asked: Asked) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
        """Returns exit code, letters and summary."""
        code, printed = await self.run(asked)
        *letters, last = [json.loads(line) for line in printed.splitlines()]
        return code, [one["letter"] for one in letters], last["summary"]


@pytest.fixture
def world(capsys: pytest.CaptureFixture[str]) -> World:
    return World(capsys)


async def test_letters_are_open_until_they_are_replayed_or_discarded(world: World) -> None:
    """The others are counted, and shown with --all: when, how often and why."""
    world.put("not_json", "synapse_error", "synapse_error")
    await world.mark(1, replays=2)
    await world.mark(2, replays=0, why="a test")
    code, letters, summary = await world.json(Asked(style=JSON))
    assert (code, [one["letter"] for one in letters]) == (0, ["0:0"])
    counts = {name: summary[name] for name in ("complete", "read", "letters", "open", "replayed", "discarded")}
    assert counts == {"complete": True, "read": 3, "letters": 1, "open": 1, "replayed": 1, "discarded": 1}
    _, letters, summary = await world.json(Asked(all=True, style=JSON))
    assert [(one.get("done"), one.get("done_at"), one.get("why"), one["replays"]) for one in letters] == [
        (None, None, None, "2"), ("replayed", "2025-11-01T12:31:40Z", "", "4"),
        ("discarded", "2025-11-01T12:31:40Z", "a test", "2"),
    ]  # fmt: skip
    assert (summary["letters"], summary["open"]) == (3, 1)


async def test_the_table_says_how_many_why_when_and_what_to_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    world.put("not_json", "synapse_error", "synapse_error", "synapse_error")
    await world.mark(3)
    code, printed = await world.run(Asked())
    assert code == 0
    assert printed.startswith(f"3 open dead letters in {DEAD} (1 replayed: --all shows them)\n")
    for said in (
        "By reason",
        "What to do",
        "can a replay help?",
        "By type",
        "By day",
        "2025-11-01",
        "Letters: all",
        "0:2",
    ):
        assert said in printed
    assert ALICE not in printed


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
async def test_no_id_and_no_place_is_cut_on_any_width_and_no_line_is_too_long(
    world: World, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """Columns that do not fit are left out, and named."""
    monkeypatch.setenv("COLUMNS", str(width))
    event = "7d1f5c1e-2b4a-4c7d-9e1f-0a1b2c3d4e5f"
    headers = HEADERS | {"x-dead-letter-event-id": event, "x-dead-letter-reason": "deactivation_incomplete"}
    for number in range(3):
        world.topics.put(DEAD, BODY, headers | {"__key": ALICE}, str(number))
    _, printed = await world.run(Asked(all=True))
    lines = printed.splitlines()
    assert max(map(len, lines[1:])) <= width
    assert "…" not in printed
    assert all(f"{number}:0" in printed for number in range(3))
    assert (event in printed) != ("event id" in printed.partition("Too narrow for:")[2])


async def test_a_read_that_is_cut_short_shows_what_was_read_and_says_that_it_is_incomplete(world: World) -> None:
    """Exit code 4, with the place."""
    world.put(*["synapse_error"] * 6)
    world.cut_after = 2
    code, printed = await world.run(Asked())
    assert code == 4
    assert printed.startswith("INCOMPLETE: partition 0 was read up to offset")
    assert f"at least 4 open dead letters in {DEAD}" in printed
    assert "incomplete: partition 0" in world.said
    code, letters, summary = await world.json(Asked(style=JSON))
    assert (code, len(letters), summary["complete"]) == (4, 4, False)
    assert summary["cut_short"] == {"partition": 0, "offset": 0, "end": 6, "why": "TRANSPORT"}


async def test_without_kafka_or_the_state_store_nothing_is_claimed(world: World) -> None:
    """Exit code 3, and what to do; never "0 letters"."""
    world.put("not_json")
    world.down = True
    code, printed = await world.run(Asked())
    assert (code, printed) == (3, "")
    assert "kafka_unavailable: TRANSPORT." in world.said
    world.down, world.store.down = False, True
    code, printed = await world.run(Asked())
    assert (code, printed) == (3, "")
    assert "state_unavailable" in world.said
    code, _, summary = await world.json(Asked(style=JSON))
    assert (code, summary["complete"], summary["ended"]) == (3, False, "unavailable")


async def test_one_letter_is_shown_with_key_headers_and_body(world: World) -> None:
    """Also if it was dealt with; redacted unless --raw."""
    world.put("not_json", "synapse_error")
    await world.mark(1, why="a test")
    named = Selection(places=frozenset({(0, 1)}))
    code, printed = await world.run(Asked(named, all=True, style=Style(whole=True)))
    assert code == 0
    for said in ("letter:   0:1", "done:     discarded", "why:      a test", "key:      <36 characters>",
                 "x-dead-letter-reason: synapse_error", '"display_name": "<12 characters>"'):  # fmt: skip
        assert said in printed
    assert "letter:   0:0" not in printed
    _, printed = await world.run(Asked(named, all=True, style=Style(whole=True, raw=True)))
    assert '"display_name": "Ada Lovelace"' in printed


async def test_a_letter_that_is_not_there_is_told(world: World) -> None:
    """Exit code 1; the others are shown."""
    world.put("not_json")
    asked = Asked(Selection(places=frozenset({(0, 0), (0, 7)})), all=True, style=Style(True, whole=True))
    code, letters, summary = await world.json(asked)
    assert (code, [one["letter"] for one in letters], summary["not_found"]) == (1, ["0:0"], ["0:7"])
    assert f"not in {DEAD}, or not matching the filter: 0:7" in world.said


async def test_json_has_bodies_only_with_raw(world: World) -> None:
    world.put("not_json")
    _, [one], _ = await world.json(Asked(style=JSON))
    assert "body" not in one
    _, [one], _ = await world.json(Asked(style=Style(as_json=True, raw=True)))
    assert (one["key"], one["body"]["display_name"]) == (ALICE, "Ada Lovelace")


async def test_marks_of_an_earlier_topic_are_told(world: World) -> None:
    """They hide no letter of the present one."""
    world.put("not_json", "not_json")
    await world.mark(1, time=5)
    code, letters, summary = await world.json(Asked(style=JSON))
    assert (code, len(letters), summary["foreign_marks"]) == (0, 2, 1)
    assert "1 marks belong to an earlier topic of this name and were ignored" in world.said


async def test_a_period_is_by_the_time_of_kafka(world: World) -> None:
    world.put("not_json", "synapse_error")
    border = letter().at.replace(microsecond=2000)  # of the second letter
    assert border > datetime(2025, 1, 1, tzinfo=UTC)
    for wanted, reasons in (
        (DeadLetterFilter(since=border), ["synapse_error"]),
        (DeadLetterFilter(until=border), ["not_json"]),
    ):
        _, letters, _ = await world.json(Asked(Selection(wanted), style=JSON))
        assert [one["reason"] for one in letters] == reasons


async def test_text_that_would_steer_a_terminal_is_escaped(world: World) -> None:
    """In the list and in a letter, also with --raw."""
    world.topics.put(
        DEAD,
        b'{"bio": "\\u001b[2J\\u009b1m\\u202e"}',
        HEADERS | {"x-dead-letter-detail": "a\x1b[2Jb [red]", "__key": "\x1b"},
    )
    style = Style(raw=True, whole=True)
    named = Selection(places=frozenset({(0, 0)}))
    printed = (await world.run(Asked()))[1] + (await world.run(Asked(named, all=True, style=style)))[1]
    assert not {"\x1b", "\x9b", "\u202e"} & set(printed)
    assert "[red]" in printed
