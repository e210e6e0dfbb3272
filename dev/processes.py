"""Starts servers as processes, waits for them with a deadline, and stops exactly those. Knows no particular server."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil


class StackError(Exception):
    """The stack cannot go on; the message tells the developer what to do."""


# Below Linux's ephemeral ports: an outgoing connection could take one of those before the server binds it.
PORTS = range(12_000, 32_000)


def free_port() -> int:
    """Returns a TCP port on loopback that is free now."""
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
        time.sleep(0.1)  # what other processes do gives no sign
    return True


class Server:
    """A process in its own session. Its pid file lets a later run stop what an earlier run left behind.

    Args:
        name: for messages, and the names of the log and the pid file.
        folder: holds both.
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
        """Returns the living processes of its session."""
        return _session(self._pid() or 0)

    def wait_ready(self, condition: Callable[[], bool], seconds: float) -> None:
        """Waits for `condition`. Raises StackError with the end of the log if the process exits or the time is up."""
        if not wait_until(lambda: not self.running() or condition(), seconds) or not self.running():
            state = f"is not ready after {seconds:.0f} s" if self.running() else "exited at its start"
            raise StackError(f"{self.name} {state}; the end of {self.log}:\n{tail(self.log)}")

    def stop(self, *, kill: bool = False, seconds: float = 20.0) -> None:
        """Ends the process and all others in its session; returns once they are gone."""
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
        """Returns pid and start time; zero if there are none, or if an earlier boot wrote them."""
        try:
            pid, started, boot = self._pid_file.read_text().split()
        except (OSError, ValueError):
            return 0, ""
        return (int(pid), started) if boot == _boot() else (0, "")

    def _pid(self) -> int | None:
        """Returns the pid, unless another process has it by now."""
        pid, started = self._recorded()
        return pid if pid and _alive(pid) and _started(pid) == started else None

    def _orphaned(self) -> int:
        """Returns the session whose leader has died; zero if another process has the pid by now: its session is not ours."""
        pid, started = self._recorded()
        return pid if _started(pid) in ("", started) else 0


def tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _alive(pid: int) -> bool:
    """Whether the process still holds anything. The leader of a killed process becomes a zombie before its other threads,
    which keep its ports open, have ended."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False


def _started(pid: int) -> str:
    """Returns the seconds from boot to the start of the process, which tell it from a later process with the same pid;
    "" if there is none. Unlike the time of day they stay the same when the clock is set."""
    try:
        return f"{psutil.Process(pid).create_time() - psutil.boot_time():.2f}"
    except psutil.NoSuchProcess:
        return ""


def _boot() -> str:
    """Returns the id of the running boot: after a reboot, pids and start times can repeat."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _session(session: int) -> list[int]:
    """Returns the living processes of a session."""
    return [pid for pid in psutil.pids() if _session_of(pid) == session and _alive(pid)] if session else []


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:  # it has exited, or belongs to another user
        return 0
