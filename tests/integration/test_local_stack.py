"""The local stack itself: runs next to another one, is kept while it runs, and is gone when stopped."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.__main__ import run
from dev.processes import Server, StackError, listens, wait_until
from dev.stack import Ports, Stack

ENDLESS = [sys.executable, "-c", "import signal; signal.pause()"]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        yield port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A process that is gone after the test, whatever its outcome."""
    started = Server("own", tmp_path)
    yield started
    started.stop()


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the folder."""
    lines = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode() if entry.name.isdecimal() else ""
        except OSError:  # it ended while we looked
            continue
        if str(folder) in line:
            lines.append(line)
    return lines


def test_a_stack_beside_keeps_what_runs_and_its_data_and_leaves_nothing(tmp_path: Path) -> None:
    """One start for several promises, since a start takes seconds."""
    stack = Stack.on_free_ports(tmp_path, partitions=1)
    ports = (stack.ports.kafka, stack.ports.kafka_controller, stack.ports.synapse)
    with stack:
        assert all(listens(port) for port in ports)
        stack.create_account("someone", "Some One")
        running = sorted(processes_of(tmp_path))
        again = Stack(tmp_path, stack.ports, partitions=1)
        again.start()
        assert sorted(processes_of(tmp_path)) == running
        token = stack.synapse.token
        stack.synapse.stop(kill=True)
        stack.synapse.start()
        assert stack.synapse.token == token
        assert (stack.account("@someone:staging.nova.app") or {})["displayname"] == "Some One"
    assert processes_of(tmp_path) == []
    assert not any(listens(port) for port in ports)


@pytest.mark.parametrize("of_kafka", ["kafka", "kafka_controller"])
def test_a_taken_port_is_named_and_nothing_is_started(tmp_path: Path, taken: int, of_kafka: str) -> None:
    stack = Stack(tmp_path, Ports(**{**vars(Ports.free()), of_kafka: taken}))
    with pytest.raises(StackError, match=f"port {taken} for Kafka is taken"):
        stack.start()
    assert processes_of(tmp_path) == []


def test_a_mistake_ends_in_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    """Also when it quotes a log with brackets, which rich would take for markup."""

    def fail() -> None:
        raise StackError("port 1 is taken: [/127.0.0.1:1] " + "and so on " * 20)

    with pytest.raises(SystemExit) as end:
        run(fail)
    assert end.value.code == 1
    shown = capsys.readouterr().out
    assert shown.startswith("stack: port 1 is taken: [/127.0.0.1:1]")
    assert shown.count("\n") == 1


def test_an_unknown_option_is_explained_without_a_traceback() -> None:
    done = subprocess.run([sys.executable, "-m", "dev", "up", "--nope"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--nope" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_process_outlives_its_parent_but_not_the_stop(server: Server, tmp_path: Path) -> None:
    """As daprd and the function do when the dapr CLI is killed."""
    child = f"import signal, subprocess; subprocess.Popen({ENDLESS!r}); print('up', flush=True); signal.pause()"
    server.start([sys.executable, "-c", child])
    server.wait_ready(lambda: "up" in server.log.read_text(), 10)
    parent = int((tmp_path / "own.pid").read_text().split()[0])
    os.kill(parent, 9)
    assert wait_until(lambda: not server.running(), 10)
    assert len(session_of(parent)) == 1
    Server("own", tmp_path).stop()
    assert session_of(parent) == []


def test_another_process_with_the_recorded_pid_is_left_alone(server: Server, tmp_path: Path) -> None:
    """A pid file that outlived a crash may name a pid that the system has given away since."""
    server.start(ENDLESS)
    pid, started, boot = (tmp_path / "own.pid").read_text().split()
    for told in (f"{pid} 1 {boot}", f"{pid} {started} another-boot", f"{pid} {started}", ""):
        (tmp_path / "stale.pid").write_text(told)
        Server("stale", tmp_path).stop()
        assert server.running()


def session_of(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdecimal() else []
        except OSError:
            continue
        if fields and fields[3] == str(leader) and fields[0] != "Z":
            found.append(int(entry.name))
    return found
