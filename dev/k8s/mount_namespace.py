"""Runs a program in its own mount namespace, where /run holds only the given files: programs that expect to run in a pod
find their tokens under /var/run/secrets, and the machine's /run stays as it is. Isolates nothing else."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

_RUN = PurePosixPath("/var/run")


def write_files(room: Path, files: Mapping[str, str]) -> Path:
    """Writes the files, by their path in the mount namespace; all are below /var/run."""
    for name, text in files.items():
        path = room / PurePosixPath(name).relative_to(_RUN)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
    return room


def command_in(room: Path, command: Sequence[str]) -> list[str]:
    """Returns the command line that runs `command` in the mount namespace; its pid stays that of the process started."""
    # Without root, only a user namespace gives the right to mount.
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--mount", *rights, "sh", "-c", 'mount --bind "$0" /run && exec "$@"', str(room), *command]
