"""The audit as a process: signals, pipes, terminals. On fakes, so that a call can hang."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROGRAM = [sys.executable, "-m", "tests.unit.cli.programs.audit_on_fakes"]
SECONDS = 20  # mostly Python's start


@contextmanager
def started(*options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*PROGRAM, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_abandons_a_page_at_once(number: signal.Signals) -> None:
    """Exit code 130, and where to go on, also while Synapse does not answer."""
    with started("--hang", "/v2/users") as process:
        assert process.stderr
        assert process.stderr.readline() == "hanging\n"
        process.send_signal(number)
        printed, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert "accounts: 0; uploaded images: 0;" in printed
    assert said.splitlines() == [
        "matrix-account-sync: stopping; go on with --from accounts:0",
        "matrix-account-sync: not finished; go on with --from accounts:0",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_repair_is_finished_first_unless_a_second_signal_comes(number: signal.Signals) -> None:
    """The first one says so at once; the second one ends the process within it, without a traceback."""
    with started("--repair", "--hang", "/displayname") as process:
        assert process.stderr
        assert process.stderr.readline() == "hanging\n"
        process.send_signal(number)
        assert "the repair that is running is finished first" in process.stderr.readline()
        assert process.poll() is None
        process.send_signal(number)
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_a_pipe_that_is_closed_ends_the_audit_quietly() -> None:
    """As after `audit | head`: exit code 4, and where to go on. Closed before the first line: then none is in the pipe."""
    with started() as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(SECONDS) == 4
    assert "standard output was closed; 0 repaired" in said
    assert "go on with --from accounts:" in said
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


def test_the_summary_fits_a_narrow_terminal_without_utf_8() -> None:
    """Only the lines that end with an id are longer: an id is never cut."""
    with started(COLUMNS="80", PYTHONUTF8="0", PYTHONIOENCODING="ascii", LC_ALL="C") as process:
        printed, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, said
    lines = [line for line in printed.splitlines() if "  @nova-" not in line]
    assert len(lines) == 5
    assert all(len(line) <= 80 and line.isascii() for line in lines)
