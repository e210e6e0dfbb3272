"""Where progress is shown, and that standard output is not redirected."""

import os
import pty
import subprocess
import sys

import pytest

from function.cli.progress import LINE_EVERY, progress

SCRIPT = """
from function.cli.progress import progress
with progress("letters read") as advance:
    for number in range(3):
        print("line", number, flush=True)
        advance(1, 3)
"""


def test_without_a_terminal_a_line_is_printed_at_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    """Progress bars would fill the log of a Job."""
    with progress("accounts checked") as advance:
        for _ in range(5):
            advance(LINE_EVERY // 2, 25_000)
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.splitlines() == ["10000 of 25000 accounts checked", "20000 of 25000 accounts checked"]


def test_with_a_bar_the_output_still_goes_into_its_pipe() -> None:
    """`... --json > file` on a terminal: the bar is drawn on the terminal, the lines are in the file."""
    terminal, end = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=end, text=True, timeout=30, check=True,
            env=os.environ | {"TERM": "xterm"},
        )  # fmt: skip
        assert done.stdout == "line 0\nline 1\nline 2\n"
        assert b"3 of 3 letters read" in os.read(terminal, 65536)
    finally:
        os.close(end)
        os.close(terminal)
