"""Where progress is shown, and that what is printed goes where it should."""

import os
import pty
import subprocess
import sys

import pytest

from function.cli.progress import TOLD_EVERY, progress

SCRIPT = """
from function.cli.progress import progress
with progress("letters read") as saw:
    for number in range(3):
        print("line", number, flush=True)
        saw(1, 3)
"""


def test_without_a_terminal_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """A log of a Job must not fill with bars."""
    with progress("accounts looked at") as advance:
        for _ in range(5):
            advance(TOLD_EVERY // 2, 25_000)
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.splitlines() == ["10000 of 25000 accounts looked at", "20000 of 25000 accounts looked at"]


def test_beside_a_bar_the_output_still_goes_into_its_pipe() -> None:
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
