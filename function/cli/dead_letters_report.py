"""What `dead-letters` prints: one JSON object on each line, or tables at the end; always whether it is complete."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from function.cli.dead_letters_tables import letter_text, line, tables
from function.cli.letters import Ended, Ending, place_text, say_rest
from function.cli.output import print_json, table_console
from function.dead_letters.letter import DeadLetter
from function.dead_letters.marks import Mark, Place
from function.dead_letters.redaction import content
from function.dead_letters.summary import Summary, row
from function.kafka.spans import CutShort


@dataclass(frozen=True, slots=True)
class Style:
    """How to print.

    Args:
        as_json: one JSON object on each line.
        raw: with personal data; JSON also with key, headers and body of each letter.
        newest: how many of the newest letters the table lists.
        whole: letters that were named, each with headers and body, and no counts.
    """

    as_json: bool = False
    raw: bool = False
    newest: int = 20
    whole: bool = False


@dataclass
class Report:
    """Collects what is to be printed.

    Attributes:
        topic: the topic that is read.
        style: how to print.
        ending: how the read ended.
        cut: where it was cut short.
        gone: how many records Kafka deleted before they were read.
        foreign: how many marks of an earlier topic were ignored.
        missing: the letters that were named and are not there.
        printed: whether the counts were printed.
    """

    topic: str
    style: Style
    ending: Ending = field(default_factory=lambda: Ending(Ended.COMPLETE))
    cut: CutShort | None = None
    gone: int = 0
    foreign: int = 0
    missing: Collection[Place] = ()
    printed: bool = False

    def __post_init__(self) -> None:
        self.summary = Summary(0 if self.style.as_json else self.style.newest, raw=self.style.raw)

    def show(self, letter: DeadLetter, mark: Mark | None, *, new: bool = False) -> None:
        """Prints one letter, or keeps it for the tables. `new`: it came after the first read."""
        style = self.style
        if not new:
            self.summary.add(letter, mark)
        if not (style.as_json or style.whole or new):
            return
        columns: dict[str, Any] = dict(row(letter, mark, raw=style.raw))
        whole = content(letter, raw=style.raw) if style.whole or (style.as_json and style.raw) else {}
        if style.as_json:
            print_json({"letter": columns | whole}, flush=new)
        elif style.whole:
            print(letter_text(columns, whole), flush=True)
        else:
            print(line(columns), flush=True)

    def print_all(self) -> None:
        """Prints the counts; on standard error what is missing from them."""
        self.printed = True
        if self.style.as_json:
            print_json({"summary": self._as_json()})
        elif not self.style.whole:
            self._print_tables()
        say_rest(self.ending, self.missing, self.gone, self.foreign, self.topic)

    def _as_json(self) -> dict[str, Any]:
        cut = self.cut
        where = cut and {"partition": cut.partition, "offset": cut.offset, "end": cut.end, "why": cut.why}
        ended = self.ending.ended
        return {
            "topic": self.topic, "complete": ended is Ended.COMPLETE, "ended": ended, "why": self.ending.why,
            "cut_short": where, "gone": self.gone, "foreign_marks": self.foreign,
            "not_found": [place_text(place) for place in sorted(self.missing)],
        } | self.summary.as_json()  # fmt: skip

    def _print_tables(self) -> None:
        incomplete = self.ending.ended is not Ended.COMPLETE
        if incomplete:
            if not self.summary.read:
                return  # there is nothing to say but why
            print(f"INCOMPLETE: {self.ending.why}")
        print(headline(self.summary, self.topic, incomplete=incomplete), flush=True)
        console = table_console()
        for table in tables(self.summary, console.options):
            console.print(table)
        if incomplete:
            print("INCOMPLETE: there may be more letters than these", flush=True)


def headline(summary: Summary, topic: str, *, incomplete: bool) -> str:
    """Returns the first line: how many letters there are, open and not."""
    closed = [
        f"{count} {what}" for count, what in ((summary.replayed, "replayed"), (summary.discarded, "discarded")) if count
    ]
    hidden = summary.replayed + summary.discarded and summary.shown == summary.open
    rest = f" ({', '.join(closed)}{': --all shows them' if hidden else ''})" if closed else ""
    noun = "letter" if summary.open == 1 else "letters"
    return f"{'at least ' if incomplete else ''}{summary.open} open dead {noun} in {topic}{rest}"
