"""`dead-letters` on a real broker: what it reads, what it shows of it, and how it follows."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from dev.servers.kafka import Kafka
from function.cli.dead_letters import run
from function.cli.dead_letters_report import Style
from function.cli.follow import follow
from function.cli.listing import Asked
from function.dead_letters.marks import Mark, Marks
from function.dead_letters.selection import Selection
from function.kafka.client import client_config
from function.kafka.record import KafkaRecord
from function.kafka.stream import open_topic
from function.settings import DEAD_SUFFIX, ToolSettings
from function.stopping import Stopped
from tests.contract.servers.topics import Topic
from tests.support.fake_dapr import FakeStateStore

pytestmark = [pytest.mark.real, pytest.mark.anyio]

SECONDS = 90
FIRST = 1762000000000


class Letters(Topic):
    """A topic of dead letters."""

    def __init__(self, kafka: Kafka, partitions: int) -> None:
        super().__init__(kafka, partitions, {"retention.ms": "-1"})  # whatever the time of a letter

    def make(self) -> None:
        self.name = self.name.removesuffix(DEAD_SUFFIX) + DEAD_SUFFIX
        super().make()

    @property
    def settings(self) -> ToolSettings:
        topic = self.name.removesuffix(DEAD_SUFFIX)
        return ToolSettings.model_validate({"kafka_brokers": self.kafka.brokers, "kafka_identity_events_topic": topic})

    def reject(self, *reasons: str, partition: int = 0, time: int = FIRST) -> None:
        for number, reason in enumerate(reasons):
            headers = {"x-dead-letter-reason": reason.encode()}
            self.put(b"{}", partition=partition, time=time + number * 1000, headers=headers)


async def shown(
    letters: Letters, capsys: pytest.CaptureFixture[str], selection: Selection, store: FakeStateStore | None = None
) -> tuple[int, list[str], dict[str, object]]:
    """Returns exit code, places and summary of `dead-letters --json`."""

    @contextlib.asynccontextmanager
    async def state(_: ToolSettings) -> AsyncIterator[FakeStateStore]:
        yield store or FakeStateStore()

    capsys.readouterr()
    asked = Asked(selection, style=Style(as_json=True), all=bool(selection.places))
    code = await run(letters.settings, asked, state)
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return code, [line["letter"]["letter"] for line in lines], last["summary"]


async def test_only_what_is_asked_for_is_read(kafka: Kafka, capsys: pytest.CaptureFixture[str]) -> None:
    """A time and an offset are looked up by Kafka; a letter that is named is read alone."""
    letters = Letters(kafka, 2)
    letters.reject("not_json", "synapse_error", "synapse_error", "not_json")
    letters.reject("not_json", partition=1, time=FIRST + 60_000)
    code, places, summary = await shown(letters, capsys, Selection())
    assert (code, sorted(places), summary["read"]) == (0, ["0:0", "0:1", "0:2", "0:3", "1:0"], 5)
    since = datetime.fromtimestamp(FIRST / 1000 + 2, UTC)
    _, places, summary = await shown(letters, capsys, Selection(since=since))
    assert (sorted(places), summary["read"]) == (["0:2", "0:3", "1:0"], 3)
    _, places, summary = await shown(letters, capsys, Selection(offsets={0: 3}))
    assert (places, summary["read"]) == (["0:3"], 1)
    code, places, summary = await shown(letters, capsys, Selection(places=frozenset({(0, 0), (0, 3), (1, 0)})))
    assert (code, sorted(places), summary["read"]) == (0, ["0:0", "0:3", "1:0"], 3)
    code, places, summary = await shown(letters, capsys, Selection(places=frozenset({(0, 1), (1, 7)})))
    assert (code, places, summary["not_found"]) == (1, ["0:1"], ["1:7"])


async def test_a_mark_hides_its_letter_and_not_that_of_a_topic_made_anew(
    kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    letters, store = Letters(kafka, 1), FakeStateStore()
    letters.reject("not_json", "not_json")
    await Marks(store, letters.name).add({(0, 1): Mark(FIRST + 1000, 1, 7)})
    _, places, summary = await shown(letters, capsys, Selection(), store)
    assert (places, summary["replayed"], summary["foreign_marks"]) == (["0:0"], 1, 0)
    letters.delete()
    letters.make()
    letters.reject("not_json", "not_json", time=FIRST + 60_000)
    _, places, summary = await shown(letters, capsys, Selection(), store)
    assert (places, summary["replayed"], summary["foreign_marks"]) == (["0:0", "0:1"], 0, 1)


async def test_a_topic_that_is_missing_is_no_topic_without_letters(
    kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    letters = Letters(kafka, 1)
    letters.delete()
    code, places, summary = await shown(letters, capsys, Selection())
    assert (code, places, summary["complete"]) == (3, [], False)
    assert "UNKNOWN_TOPIC" in str(summary["why"])


class Seen:
    """Takes what is followed, and waits for it."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self._more = asyncio.Event()

    async def take(self, batch: list[KafkaRecord]) -> None:
        self.offsets += [int(record.kafka_field("offset")) for record in batch]
        self._more.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(SECONDS):
            while len(self.offsets) < count:
                self._more.clear()
                await self._more.wait()


@contextlib.asynccontextmanager
async def following(letters: Letters, positions: dict[int, int]) -> AsyncIterator[Seen]:
    stop, seen = asyncio.Event(), Seen()
    async with open_topic(client_config(letters.settings), letters.name) as stream:
        task = asyncio.create_task(follow(stream, positions, seen.take, stop))
        try:
            yield seen
        finally:
            stop.set()
            with pytest.raises(Stopped):
                await asyncio.wait_for(task, SECONDS)


async def test_new_letters_are_followed_through_a_restart_of_the_broker(
    kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is shown once; the outage and its end are told once."""
    letters = Letters(kafka, 1)
    letters.reject("not_json")
    async with following(letters, {0: 1}) as seen:
        await asyncio.to_thread(letters.reject, "not_json", "not_json")
        await seen.until(2)
        await asyncio.to_thread(kafka.stop)
        said = ""

        async def until_said(words: str) -> None:
            nonlocal said
            async with asyncio.timeout(SECONDS):
                while words not in said:
                    await asyncio.sleep(0.1)
                    said += capsys.readouterr().err

        await until_said("trying again")
        await asyncio.to_thread(kafka.start)
        await asyncio.to_thread(letters.reject, "not_json")
        await seen.until(3)
        await until_said("following again")
    assert seen.offsets == [1, 2, 3]
    assert said.count("trying again") == 1
    assert said.count("following again") == 1


async def test_a_topic_that_is_made_anew_is_followed_from_its_beginning(
    kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    letters = Letters(kafka, 1)
    letters.reject(*["not_json"] * 5)
    async with following(letters, {0: 5}) as seen:
        await asyncio.to_thread(letters.delete)
        await asyncio.to_thread(letters.make)
        await asyncio.to_thread(letters.reject, "not_json")
        await seen.until(1)
    assert seen.offsets == [0]
    assert "following from its beginning" in capsys.readouterr().err
