"""What `replay` and `discard` share: options that name letters, one walk over a topic, how it ended, and the exit code."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer
from dapr.aio.clients import DaprClient

from function.cli.exit_codes import ExitCode
from function.cli.options import print_problems
from function.cli.progress import Advance
from function.dead_letters.marks import Place
from function.dead_letters.selection import read_places
from function.dead_letters.stopping import Stopped, unless_stopped
from function.kafka.client import ClientConfig
from function.kafka.record import KafkaRecord
from function.kafka.spans import CutShort, NoPartition, Span
from function.kafka.stream import TopicStream
from function.outcomes import TryAgain
from function.settings import WrongSettings

SIDECAR_SECONDS = 10.0  # for a sidecar that starts at the same time

OpenClient = Callable[[float], AbstractAsyncContextManager[DaprClient]]
_Result = TypeVar("_Result")
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


def require_terminal(*, unless: bool) -> None:
    """Refuses to begin where nobody can confirm, before anything is read."""
    if not unless and not sys.stdin.isatty():
        raise typer.BadParameter("no terminal to confirm on; add --yes, or --dry-run to preview")


def run_or_exit(job: Coroutine[Any, Any, _Result]) -> _Result:
    """Runs the job; ends the process if a setting or an option is invalid, or at a second Ctrl-C."""
    try:
        return asyncio.run(job)
    except WrongSettings as wrong:
        code = print_problems(wrong)
    except NoPartition as wrong:
        say(str(wrong))
        code = ExitCode.INVALID
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    raise typer.Exit(code)


def confirm_on_stderr(question: str) -> None:
    """Asks on standard error, since standard output may be a file; ends the process unless the answer is yes."""
    try:
        if typer.confirm(question, err=True):
            return
        code = ExitCode.DONE
    except typer.Abort:  # Ctrl-C, or the end of the input
        code = ExitCode.INTERRUPTED
    say("nothing was done")
    raise typer.Exit(code)


def say(line: str) -> None:
    """Prints a line for a person on standard error; standard output has the result only."""
    print(f"matrix-account-sync: {line}", file=sys.stderr, flush=True)


def print_summary(summary: Mapping[str, Any]) -> None:
    print(json.dumps({"summary": summary}), flush=True)


def counted(counts: Mapping[str, int]) -> str:
    """Returns counts as text, the largest first: "8 synapse_error, 2 not_json"."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def place_text(place: Place) -> str:
    return f"{place[0]}:{place[1]}"
