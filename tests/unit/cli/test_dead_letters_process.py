"""`dead-letters` as a process: terminals, pipes, signals. On fakes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROGRAM = [sys.executable, "-m", "tests.unit.cli.programs.dead_letters_on_fakes", "show"]
SECONDS = 60  # mostly Python's start


@contextmanager
def started(*words: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_a_terminal_that_is_not_utf_8_gets_what_it_can_show(environment: dict[str, str]) -> None:
    """Frames and bars of ASCII; other letters escaped."""
    with started("5", COLUMNS="100", **environment) as process:
        printed, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert printed.isascii()
    assert b"5 open dead letters" in printed
    assert b"gr\\xf6\\xdfer" in printed
    assert b"#####" in printed


def test_a_pipe_that_is_closed_ends_it_quietly() -> None:
    """`dead-letters --json | head -1`: exit code 4, nothing on standard error but progress."""
    with started("2000", "--as-json") as process:
        assert process.stdout
        assert process.stderr
        first = process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(SECONDS) == 4
    assert json.loads(first)["letter"]["letter"] == "0:0"
    assert [line for line in said.splitlines() if "dead letters read" not in line] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_read_shows_what_was_read(number: signal.Signals) -> None:
    """Exit code 130, and that it is incomplete."""
    with started("5", "--hang") as process:
        assert process.stderr
        assert process.stderr.readline() == b"hanging\n"
        process.send_signal(number)
        printed, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert printed.decode().startswith("INCOMPLETE: interrupted\nat least 5 open dead letters")
    assert said.decode().splitlines() == ["matrix-account-sync: interrupted"]


def test_watching_ends_with_ctrl_c() -> None:
    """After the letters that were there; exit code 130, as that of each command that is interrupted."""
    with started("5", "--watch") as process:
        assert process.stderr
        assert b"watching" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert printed.decode().startswith("5 open dead letters")
    assert b"Traceback" not in said
