"""What the commands about dead letters share: options that name letters, one walk over a topic, and how it ended."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer
from dapr.aio.clients import DaprClient

from function.cli.exit_codes import ExitCode
from function.cli.output import print_json, say
from function.cli.progress import Advance
from function.dead_letters.letter import DeadLetter
from function.dead_letters.marks import Place
from function.dead_letters.selection import read_places
from function.dead_letters.summary import row
from function.kafka.client import ClientConfig
from function.kafka.record import KafkaRecord
from function.kafka.spans import CutShort, Span
from function.kafka.stream import TopicStream
from function.outcomes import TryAgain
from function.stopping import Stopped, unless_stopped

SIDECAR_SECONDS = 10.0  # for a sidecar that starts at the same time

OpenClient = Callable[[float], AbstractAsyncContextManager[DaprClient]]

OpenTopic = Callable[[ClientConfig, str], AbstractAsyncContextManager[TopicStream]]


def _check_places(texts: list[str] | None) -> list[str]:
    try:
        read_places(texts or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return texts or []


Letters = Annotated[
    list[str] | None,
    typer.Option(
        "--letter", callback=_check_places, metavar="PARTITION:OFFSET",
        help="Only this letter, as the list names it; also if it was replayed or discarded before. Repeatable.",
    ),
]  # fmt: skip
FromOffset = Annotated[
    list[str] | None,
    typer.Option(
        "--from-offset", callback=_check_places, metavar="PARTITION:OFFSET",
        help="Only this partition, from this offset on; repeatable, or several separated by commas.",
    ),
]  # fmt: skip


def check_named(places: Collection[Place], *others: object) -> None:
    """Refuses options that, next to --letter, would say something else about which letters are meant."""
    if places and any(others):
        raise typer.BadParameter("--letter names the letters: leave out --since, --until, --from-offset and --watch")


class Ended(StrEnum):
    """How the walk over the topic ended."""

    COMPLETE = "complete"
    MAX = "max"
    INTERRUPTED = "interrupted"
    CUT_SHORT = "cut_short"
    UNAVAILABLE = "unavailable"

    @property
    def code(self) -> ExitCode:
        codes = {
            Ended.INTERRUPTED: ExitCode.INTERRUPTED, Ended.CUT_SHORT: ExitCode.CUT_SHORT,
            Ended.UNAVAILABLE: ExitCode.UNAVAILABLE,
        }  # fmt: skip
        return codes.get(self, ExitCode.DONE)


@dataclass(frozen=True, slots=True)
class Ending:
    """How the walk ended, and why, in words for a person."""

    ended: Ended
    why: str = ""


@contextlib.contextmanager
def stoppable() -> Iterator[asyncio.Event]:
    """Yields an event that the first Ctrl-C or SIGTERM sets; a second one ends the process at once."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def restore() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    def told() -> None:
        stop.set()
        restore()

    for number in numbers:
        loop.add_signal_handler(number, told)
    try:
        yield stop
    finally:
        restore()


async def walk(
    batches: AsyncIterator[list[KafkaRecord]], total: int, process: Callable[[list[KafkaRecord]], Awaitable[None]],
    enough: Callable[[], bool], stop: asyncio.Event, advance: Advance,
) -> Ending:  # fmt: skip
    """Hands each batch to `process` until the end of the topic, `enough`, a stop or a failure; says which it was."""
    with ending() as found:
        while not enough():
            batch = await unless_stopped(stop, _next(batches))
            if not batch:
                return Ending(Ended.COMPLETE)
            await process(batch)
            advance(len(batch), total)
            if stop.is_set():
                raise Stopped
        return Ending(Ended.MAX)
    return found[0]


@contextlib.contextmanager
def ending() -> Iterator[list[Ending]]:
    """Catches what ends a walk early; the list then holds how it ended."""
    found: list[Ending] = []
    try:
        yield found
    except Stopped:
        found.append(Ending(Ended.INTERRUPTED, "interrupted"))
    except CutShort as cut:
        found.append(Ending(Ended.CUT_SHORT, str(cut)))
    except TryAgain as failure:
        found.append(Ending(Ended.UNAVAILABLE, f"{failure.reason}: {failure.detail}. {failure.reason.todo}"))


async def _next(batches: AsyncIterator[list[KafkaRecord]]) -> list[KafkaRecord] | None:
    return await anext(batches, None)


def size_of(spans: Sequence[Span]) -> int:
    return sum(span.end - span.start for span in spans)


def print_summary(summary: Mapping[str, Any]) -> None:
    print_json({"summary": summary})


def counted(counts: Mapping[str, int]) -> str:
    """Returns counts as text, the largest first: "8 synapse_error, 2 not_json"."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def place_text(place: Place) -> str:
    return f"{place[0]}:{place[1]}"


def say_rest(
    ending: Ending, missing: Collection[Place], gone: int, foreign: int, topic: str = "the topic"
) -> None:  # fmt: skip
    """Says on standard error what the counts do not: what is missing from them, and why the walk ended early.

    Args:
        ending: of the walk.
        missing: letters that were asked for and not found.
        gone: records that Kafka deleted before they were read.
        foreign: marks of an earlier topic of the same name.
        topic: its name.
    """
    if missing:
        say(f"not in {topic}, or not matching the filter: {', '.join(map(place_text, sorted(missing)))}")
    if gone:
        say(f"{gone} records were deleted by Kafka before they were read: their retention had ended")
    if foreign:
        say(f"{foreign} marks belong to an earlier topic of this name and were ignored")
    if ending.ended is Ended.MAX:
        say("stopped at --max")
    elif ending.ended is not Ended.COMPLETE:
        say(f"incomplete: {ending.why}" if ending.ended is Ended.CUT_SHORT else ending.why)


def naming(verb: str, *, as_json: bool) -> Callable[[DeadLetter], None]:
    """Returns what names the letters of a dry run, a line each."""
    if as_json:
        return lambda letter: print_json({"letter": row(letter)})
    return lambda letter: print(
        f"would {verb} " + " ".join(f"{n}={t}" for n, t in row(letter).items() if n != "detail")
    )
