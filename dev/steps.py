"""Runs a long command, logs its output and shows its progress: a bar on a terminal, a line every half minute elsewhere.
Knows no particular command."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dev.processes import StackError, tail

TOLD_EVERY = 30.0  # seconds, where there is no terminal
_DRAWN_EVERY = 0.2  # seconds between two reads of the log

Say = Callable[[str], None]


class Work:
    """Computes the progress of a command from its output.

    Args:
        what: the command in words, such as "building daprd".
        unit: what is counted, such as "packages".
        counts: whether a line of output stands for one more unit.
        total: number of units, if it is known.
        after: the step after the last unit, such as "linking".
    """

    def __init__(
        self,
        what: str,
        unit: str = "",
        counts: Callable[[str], bool] = lambda _: False,
        total: int | None = None,
        after: str = "",
    ) -> None:
        self._what, self._unit, self._counts, self._after = what, unit, counts, after
        self.total = total
        self.done = 0

    def see(self, line: str) -> None:
        self.done += self._counts(line)

    def __str__(self) -> str:
        if self.total is not None:
            after = f", {self._after}" if self._after and self.done >= self.total else ""
            return f"{self._what}: {self.done:,} of {self.total:,} {self._unit}{after}"
        return f"{self._what}: {self.done:,} {self._unit} so far" if self.done else self._what


class Reminder:
    """Prints the progress, but only every TOLD_EVERY seconds.

    Args:
        say: takes the line.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, work: Work, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._work, self._say, self._clock = work, say, clock
        self._began = self._told = clock()

    def __call__(self) -> None:
        now = self._clock()
        if now - self._told >= TOLD_EVERY:
            self._told = now
            self._say(f"{self._work} ({now - self._began:.0f} s)")


def follow(
    command: Sequence[str],
    log: Path,
    work: Work,
    say: Say,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Runs `command` until it exits and shows the progress of `work`. Appends its output to `log`. Raises StackError with
    the end of the log if the command fails."""
    with log.open("ab") as output, log.open(errors="replace") as written, _shown(work, say) as show:
        written.seek(0, 2)
        with subprocess.Popen(command, stdout=output, stderr=output, cwd=cwd, env=env) as process:
            try:
                rest = ""
                ended = False
                while not ended:
                    ended = _ends(process)
                    *lines, rest = (rest + written.read()).split("\n")
                    for line in lines:
                        work.see(line)
                    show()
            except BaseException:
                process.kill()
                raise
    if process.returncode:
        raise StackError(f"`{command[0]}` failed for {log.stem}; the end of {log}:\n{tail(log)}")


def _ends(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process exits before the next read of its log is due."""
    try:
        process.wait(_DRAWN_EVERY)
    except subprocess.TimeoutExpired:
        return False
    return True


@contextmanager
def _shown(work: Work, say: Say) -> Iterator[Callable[[], None]]:
    """Yields a function that shows the progress each time it is called."""
    console = Console()  # standard output, where `say` prints
    if not console.is_interactive:
        yield Reminder(work, say)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as drawn:
        task = drawn.add_task(str(work), total=work.total)
        yield lambda: drawn.update(task, description=str(work), completed=work.done)
