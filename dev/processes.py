"""Starts servers as processes of their own, waits for them with a deadline, and stops exactly those. Knows no server."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class StackError(Exception):
    """Something a person has to do: the message says what."""


# Below those that Linux gives to outgoing connections, one of which may take a port between here and its use.
PORTS = range(12_000, 32_000)


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Polls until `condition` holds; False after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)  # the poll of a wait with a deadline
    return True


class Server:
    """One process in a session of its own, known by a pid file, so that a later run can stop what an earlier left.

    Args:
        name: for messages, and the names of the log and the pid file.
        folder: where both lie.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / "logs" / f"{name}.log"
        self._pid_file = folder / f"{name}.pid"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env, cwd=cwd, start_new_session=True
            )
        self._pid_file.write_text(f"{self._child.pid} {_started(self._child.pid)} {_boot()}")

    def running(self) -> bool:
        return self._pid() is not None

    def pids(self) -> list[int]:
        """Its living processes."""
        return _session(self._pid() or 0)

    def wait_ready(self, condition: Callable[[], bool], seconds: float) -> None:
        """Waits for `condition`. Raises StackError with the end of the log when the process ends or the time is up."""
        if not wait_until(lambda: not self.running() or condition(), seconds) or not self.running():
            state = f"is not ready after {seconds:.0f} s" if self.running() else "ended at its start"
            raise StackError(f"{self.name} {state}; the end of {self.log}:\n{tail(self.log)}")

    def stop(self, *, kill: bool = False, seconds: float = 20.0) -> None:
        """Ends the process and everything in its session; returns once all of it is gone."""
        pid = self._pid()
        if pid is not None:
            _signal(pid, signal.SIGKILL if kill else signal.SIGTERM)
            if not wait_until(lambda: not _alive(pid), seconds):
                _signal(pid, signal.SIGKILL)
        session = pid or self._orphaned()
        for left in _session(session):
            with contextlib.suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)
        wait_until(lambda: not any(_alive(left) for left in _session(session)), seconds)
        if self._child:
            self._child.wait()
            self._child = None
        self._pid_file.unlink(missing_ok=True)

    def _recorded(self) -> tuple[int, str]:
        """Pid and start time; zero when there are none, or when they are of an earlier boot."""
        try:
            pid, started, boot = self._pid_file.read_text().split()
        except (OSError, ValueError):
            return 0, ""
        return (int(pid), started) if boot == _boot() else (0, "")

    def _pid(self) -> int | None:
        """The pid, if that process is still the one that was started."""
        pid, started = self._recorded()
        return pid if pid and _alive(pid) and _started(pid) == started else None

    def _orphaned(self) -> int:
        """The session whose first process has died; zero when the pid went to a stranger, whose session is not ours."""
        pid, started = self._recorded()
        return pid if _started(pid) in ("", started) else 0


def tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the command's name: state is the first, session the fourth."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _alive(pid: int) -> bool:
    """Whether it still holds anything. The first thread of a killed process is a zombie (Z) before the others, which
    keep its ports open, have ended: field 17 is the number of threads."""
    stat = _stat(pid)
    return bool(stat) and (stat[0] != "Z" or int(stat[17]) > 1)


def _started(pid: int) -> str:
    """When the process started, in clock ticks: tells it from a later one with the same pid."""
    stat = _stat(pid)
    return stat[19] if stat else ""


def _boot() -> str:
    """The id of the running boot: pids and start times begin anew with each."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _session(session: int) -> list[int]:
    """The living processes of a session."""
    if not session:
        return []
    pids = (int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal())
    return [pid for pid in pids if (stat := _stat(pid)) and stat[3] == str(session) and _alive(pid)]
