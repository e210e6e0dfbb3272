"""Progress on standard error: a bar on a terminal, a line now and then elsewhere. Knows nothing of what is counted."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

TOLD_EVERY = 10_000


class Advance(Protocol):
    """Takes how many more were seen and, where it is known, how many there are in all."""

    def __call__(self, count: int, total: int | None = None) -> None: ...


@contextlib.contextmanager
def progress(what: str) -> Iterator[Advance]:
    """`what` follows the count, such as "dead letters read"."""
    console = Console(stderr=True)
    seen = 0

    def say(count: int, total: int | None = None) -> None:
        nonlocal seen
        before, seen = seen, seen + count
        if before // TOLD_EVERY != seen // TOLD_EVERY:
            print(f"{seen} {f'of {total} ' if total else ''}{what}", file=sys.stderr)

    if not console.is_terminal:
        yield say
        return
    columns = (SpinnerColumn(), TextColumn("{task.completed}{task.fields[of]} {task.description}"), TimeElapsedColumn())
    # rich would put what is printed onto its own console, which is standard error: lost for a pipe or a file.
    shared = sys.stdout.isatty()
    with Progress(*columns, BarColumn(), console=console, transient=True, redirect_stdout=shared) as drawn:
        task = drawn.add_task(what, total=None, of="")

        def advance(count: int, total: int | None = None) -> None:
            drawn.update(task, advance=count, total=total, of=f" of {total}" if total else "")

        yield advance
