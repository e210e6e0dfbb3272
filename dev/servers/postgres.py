"""Runs PostgreSQL for the local stack, for Synapse and for Dapr's state store. The data is disposable."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from dev.processes import Server, StackError, listens
from dev.toolchain import postgres


class Postgres:
    """A server on loopback with the databases `synapse` and `state`.

    PostgreSQL refuses to run as root: then it is started as the user `postgres` (or the system's unprivileged user), on a folder of that user.

    Args:
        folder: for log, pid file and the path of its data.
        port: on loopback.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.server = Server("postgres", folder)
        self._address = folder / "postgres.data"

    def start(self) -> None:
        if self.server.running():
            return
        data, fresh = self._data()
        if fresh:
            # Synapse requires the C collation. No password: the server listens on loopback only.
            self._run(
                [str(postgres("initdb")), "-D", str(data), "-U", "synapse", "-A", "trust", "-E", "UTF8", "--locale=C"]
            )
        options = [f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={data}", "fsync=off"]
        arguments = [word for option in options for word in ("-c", option)]
        self.server.start([*_as_user(), str(postgres("postgres")), "-D", str(data), *arguments], cwd=data)
        self.server.wait_ready(lambda: listens(self.port), 30)
        if fresh:
            address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "synapse"]
            self.server.wait_ready(lambda: self._answers(address), 30)
            for database in ("synapse", "state"):
                self._run([str(postgres("psql")), *address, "-d", "postgres", "-qc", f"CREATE DATABASE {database}"])

    def stop(self, *, kill: bool = False) -> None:
        self.server.stop(kill=kill)

    def remove(self) -> None:
        """Stops the server and deletes its data."""
        self.stop()
        if self._address.exists():
            shutil.rmtree(self._address.read_text(), ignore_errors=True)
            self._address.unlink()

    def url(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=synapse dbname={database} sslmode=disable"

    def _answers(self, address: list[str]) -> bool:
        command = [str(postgres("psql")), *address, "-d", "postgres", "-qc", "SELECT 1"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _data(self) -> tuple[Path, bool]:
        """Returns the data folder, and whether it is new. It lies in the temporary folder, which the other user can reach."""
        if self._address.exists():
            return Path(self._address.read_text()), False
        data = Path(tempfile.mkdtemp(prefix="matrix-account-sync-postgres-"))
        if user := _user():
            os.chown(data, user.pw_uid, user.pw_gid)
        self._address.parent.mkdir(parents=True, exist_ok=True)
        self._address.write_text(str(data))
        return data, True

    def _run(self, command: list[str]) -> None:
        done = subprocess.run([*_as_user(), *command], capture_output=True, text=True, cwd="/", check=False)
        if done.returncode:
            raise StackError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")


def _user() -> pwd.struct_passwd | None:
    """Returns the user to run PostgreSQL as if this process is root's, otherwise None."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwuid(65534)  # the system's unprivileged user


def _as_user() -> list[str]:
    user = _user()
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"] if user else []
