"""Shows progress on standard error: a bar on a terminal, otherwise a line every `LINE_EVERY` items."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

LINE_EVERY = 10_000


class Advance(Protocol):
    """Adds to the count; `total` is the number expected, if known."""

    def __call__(self, count: int, total: int | None = None) -> None: ...


@contextlib.contextmanager
def progress(what: str) -> Iterator[Advance]:
    """Yields the function that counts. `what` follows the count, for example "dead letters read"."""
    console = Console(stderr=True)
    done = 0

    def print_line(count: int, total: int | None = None) -> None:
        nonlocal done
        before, done = done, done + count
        if before // LINE_EVERY != done // LINE_EVERY:
            print(f"{done} {f'of {total} ' if total else ''}{what}", file=sys.stderr)

    if not console.is_terminal:
        yield print_line
        return
    columns = (SpinnerColumn(), TextColumn("{task.completed}{task.fields[of]} {task.description}"), TimeElapsedColumn())
    # rich redirects standard output to its own console, here standard error: then a pipe or a file would get nothing.
    redirect = sys.stdout.isatty()
    with Progress(*columns, BarColumn(), console=console, transient=True, redirect_stdout=redirect) as bar:
        task = bar.add_task(what, total=None, of="")

        def advance(count: int, total: int | None = None) -> None:
            bar.update(task, advance=count, total=total, of=f" of {total}" if total else "")

        yield advance
