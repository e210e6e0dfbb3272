"""Shows dead letters on the fakes, for tests of terminals, pipes and signals: `python -m ... COUNT [--hang] [--json] [--watch]`.

With --hang the topic never gets to its end, and the program says "hanging" on standard error.
"""

import contextlib
import sys
from collections.abc import AsyncIterator, Sequence

import anyio
import typer

from function.cli import main
from function.cli.dead_letters import run
from function.cli.dead_letters_report import Style
from function.cli.listing import Asked
from function.cli.options import run_or_exit
from function.cli.output import Commands
from function.kafka.client import ClientConfig
from function.kafka.record import KafkaRecord
from function.kafka.spans import Span
from function.settings import ToolSettings
from tests.support.dead_letters import DEAD, HEADERS
from tests.support.fake_dapr import FakeStateStore
from tests.support.fake_kafka import FakeStream, FakeTopics

cli = typer.Typer(cls=Commands, pretty_exceptions_enable=False)


class Hanging(FakeStream):
    """Never comes to the end."""

    async def batches(self, spans: Sequence[Span]) -> AsyncIterator[list[KafkaRecord]]:
        async for batch in super().batches(spans):
            yield batch
        print("hanging", file=sys.stderr, flush=True)
        await anyio.sleep_forever()


@cli.callback()
def options() -> None:
    """Makes a group of it, as the real one is."""


@cli.command("show")
def show(count: int, hang: bool = False, as_json: bool = False, watch: bool = False) -> None:
    """Shows the letters; the exit code is that of `dead-letters`."""
    topics = FakeTopics(time=1762000000000)
    for number in range(count):
        topics.put(
            DEAD, b'{"bio": "\xc3\xbc"}', HEADERS | {"x-dead-letter-detail": "größer als erlaubt ☃"}, str(number % 3)
        )

    @contextlib.asynccontextmanager
    async def store(_: ToolSettings) -> AsyncIterator[FakeStateStore]:
        yield FakeStateStore()

    @contextlib.asynccontextmanager
    async def topic(_: ClientConfig, name: str) -> AsyncIterator[FakeStream]:
        yield (Hanging if hang else FakeStream)(topics, name, 100)

    settings = ToolSettings.model_validate({"kafka_brokers": "127.0.0.1:9"})
    asked = Asked(watch=watch, style=Style(as_json, raw=True))
    raise typer.Exit(run_or_exit(run(settings, asked, store, topic)))


if __name__ == "__main__":
    main(cli)
