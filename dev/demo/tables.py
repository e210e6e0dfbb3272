"""Shows what the demo sent and what became of it, expected against actual, as tables or as a picture."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dev.demo.script import Person, Step
from dev.processes import wait_until

WIDTH = 130  # without a terminal
_OK, _NO = "[green]ok[/]", "[red]no[/]"


@dataclass(frozen=True)
class Side:
    """A server that knows people.

    Args:
        name: as the table's header says it.
        now: describes a person as the server has it now.
        expected: what that should be at the end.
    """

    name: str
    now: Callable[[Person], str]
    expected: Callable[[Person], str]


@dataclass(frozen=True)
class Visit:
    """What a person meets who comes with an earlier session or logs in, expected and actual."""

    who: str
    what: str
    expected: str
    now: Callable[[], str]


def new_console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH, record=True)


def show_events(console: Console, script: Sequence[Step]) -> bool:
    """Prints each event's outcome. Returns whether all are as expected."""
    table = Table("", "who", "event", "wire shape", "what happened", title="Events", title_justify="left")
    for step in script:
        mark, outcome = _compared(step.outcome, step.expected)
        table.add_row(mark, step.who, step.what, step.shape, outcome)
    console.print(table)
    return all(step.outcome == step.expected for step in script)


def show_accounts(console: Console, people: Mapping[str, Person], sides: Sequence[Side], seconds: float = 30.0) -> bool:
    """Prints what each side says of each person, once all is as expected or the seconds are up. Returns whether it is."""
    expected = [[side.expected(person) for side in sides] for person in people.values()]
    seen: list[list[str]] = []

    def look() -> bool:
        seen[:] = [[side.now(person) for side in sides] for person in people.values()]
        return seen == expected

    good = wait_until(look, seconds)
    table = Table("", "who", *(f"{side.name} says now" for side in sides), title="Accounts", title_justify="left")
    for person, said, right in zip(people.values(), seen, expected, strict=True):
        texts = [_compared(*pair)[1] for pair in zip(said, right, strict=True)]
        table.add_row(_OK if said == right else _NO, person.name, *texts)
    console.print(table)
    return good


def show_visits(console: Console, visits: Sequence[Visit]) -> bool:
    """Prints what people meet, once the accounts are as expected. Returns whether it is as expected."""
    table = Table("", "who", "comes with", "what happens", title="Sessions and logins", title_justify="left")
    seen = [visit.now() for visit in visits]
    for visit, actual in zip(visits, seen, strict=True):
        mark, text = _compared(actual, visit.expected)
        table.add_row(mark, visit.who, visit.what, text)
    if visits:
        console.print(table)
    return seen == [visit.expected for visit in visits]


def show_letters(console: Console, letters: Sequence[Mapping[str, str]], script: Sequence[Step]) -> bool:
    """Prints the dead letters. Returns whether there are as many as expected."""
    table = Table("who", "reason", "detail", "origin", title="Dead letters", title_justify="left")
    for letter in letters:
        of = {name: letter.get(f"x-dead-letter-{name}", "") for name in ("reason", "detail", "partition", "offset")}
        origin = f"partition {of['partition']}, offset {of['offset']}"
        table.add_row(letter["who"], of["reason"], of["detail"], origin)
    console.print(table)
    return len(letters) == sum(step.expected.startswith("dead_letter") for step in script)


def draw(console: Console, picture: Path) -> None:
    """Writes the printed tables as an SVG without external resources: it uses the reader's fonts."""
    drawn = console.export_svg(title="make demo: what was sent, and what became of it", unique_id="demo")
    plain = re.sub(r"@font-face \{.*?\}\n", "", drawn, flags=re.DOTALL).replace("Fira Code, ", "")
    picture.write_text(re.sub(r"[ \t]+$", "", plain, flags=re.MULTILINE))


def _compared(actual: str, expected: str) -> tuple[str, str]:
    """Returns the mark and the text of a row."""
    return (_OK, actual) if actual == expected else (_NO, f"{actual} [red](expected {expected})[/]")
