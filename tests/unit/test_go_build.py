"""A person who waits for a build sees how far it is, and the log has everything."""

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.go_build import Fetching, compiling
from dev.processes import StackError
from dev.steps import TOLD_EVERY, Reminder, Work, follow

LISTED = """\
go: downloading go1.26.5 (linux/amd64)
go: downloading github.com/dapr/kit v0.18.0
to compile: internal/cpu
to compile: github.com/dapr/kit/logger
"""
BUILT = """\
internal/cpu
# github.com/dapr/kit/logger
vendor/example/net/idna
github.com/dapr/kit/logger
"""
THREE = "for line in ('one', 'two', 'three'): print(line, flush=True)"
ON_A_TERMINAL = f"""
import sys
from pathlib import Path
from dev.steps import Work, follow
work = Work("counting", "lines", bool, 3)
follow([sys.executable, "-c", {THREE!r}], Path(sys.argv[1]), work, print)
"""


def seen(work: Work, lines: str) -> Work:
    for line in lines.splitlines():
        work.see(line)
    return work


def clock(*times: float) -> Iterator[float]:
    yield from times


def test_modules_are_counted_as_they_are_fetched_and_packages_are_collected() -> None:
    work = Fetching("daprd")
    assert str(work) == "fetching modules for daprd"
    seen(work, LISTED)
    assert str(work) == "fetching modules for daprd: 2 modules so far"
    assert work.packages == {"internal/cpu", "github.com/dapr/kit/logger"}


def test_only_lines_that_name_a_package_to_compile_are_counted() -> None:
    """A compiler's complaint and a package that was thought to be cached are not progress: it would pass its total."""
    work = compiling("daprd", {"internal/cpu", "github.com/dapr/kit/logger", "fmt"})
    assert str(seen(work, BUILT)) == "building daprd: 2 of 3 packages"


def test_after_the_last_package_the_linker_is_named() -> None:
    """It takes its time and writes nothing."""
    assert str(seen(compiling("daprd", {"fmt"}), "fmt")) == "building daprd: 1 of 1 packages, linking"
    assert str(compiling("daprd", set())) == "linking daprd"


def test_thousands_are_readable() -> None:
    work = Work("building daprd", "packages", bool, 2340)
    assert str(seen(work, "a\n" * 1820)) == "building daprd: 1,820 of 2,340 packages"


def test_without_a_terminal_a_line_comes_every_half_minute() -> None:
    """The log of a build server must not fill with bars, nor stay empty for ten minutes."""
    said: list[str] = []
    times = clock(0, 1, TOLD_EVERY, TOLD_EVERY + 1, 2 * TOLD_EVERY + 1)
    remind = Reminder(Work("installing Synapse"), said.append, lambda: next(times))
    for _ in range(4):
        remind()
    assert said == ["installing Synapse (30 s)", "installing Synapse (61 s)"]


def test_each_line_is_counted_once_and_kept_in_the_log(tmp_path: Path) -> None:
    """What an earlier command left there belongs to it."""
    log = tmp_path / "three.log"
    log.write_text("earlier\n")
    work = Work("counting", "lines", bool, 3)
    follow([sys.executable, "-c", THREE], log, work, print)
    assert work.done == 3
    assert log.read_text() == "earlier\none\ntwo\nthree\n"


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "daprd.log"
    script = "import sys; print('before'); sys.exit('no such module')"
    with pytest.raises(StackError, match=r"failed for daprd; the end of .*daprd\.log:\n(.*\n)*no such module"):
        follow([sys.executable, "-c", script], log, Work("building daprd"), print)


def test_on_a_terminal_a_bar_is_drawn(tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", ON_A_TERMINAL, str(tmp_path / "log")], stdout=end, timeout=30, check=True,
            env=os.environ | {"TERM": "xterm"},
        )  # fmt: skip
    finally:
        os.close(end)
    drawn = b""
    with os.fdopen(terminal, "rb", buffering=0) as screen, contextlib.suppress(OSError):  # as a terminal ends
        while part := screen.read(4096):
            drawn += part
    assert b"counting: 3 of 3 lines" in drawn
