"""Reads what a release is made from: a clean commit, its time and its files. Files that are not committed are left out."""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dev.processes import StackError
from dev.release.version import Version, version_of


@dataclass(frozen=True, slots=True)
class Source:
    """A commit.

    Args:
        commit: its full id.
        time: when it was committed, in seconds since 1970; the time of everything that is built from it.
        repository: where it can be fetched, or "" if the checkout has no remote.
    """

    root: Path
    version: Version
    commit: str
    time: int
    repository: str

    @classmethod
    def of(cls, root: Path) -> "Source":
        """Returns the commit that is checked out. Raises StackError if there is none, or if files differ from it."""
        changed = _git(root, "status", "--porcelain")
        if changed:
            names = ", ".join(line[3:] for line in changed.splitlines()[:5])
            raise StackError(
                f"a release is made from a commit, and these files differ from it: {names}: commit or remove them"
            )
        commit, time = _git(root, "log", "-1", "--format=%H %ct").split()
        remotes = _git(root, "remote").split()
        repository = _git(root, "remote", "get-url", remotes[0]) if remotes else ""
        return cls(root, version_of(root), commit, int(time), repository)

    @property
    def moment(self) -> datetime:
        """The commit's time."""
        return datetime.fromtimestamp(self.time, UTC)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a build outside git have this version and this time."""
        return {"SOURCE_DATE_EPOCH": str(self.time), "SETUPTOOLS_SCM_PRETEND_VERSION": self.version.python}

    def export(self, folder: Path) -> Path:
        """Writes the commit's files into `folder` and returns it."""
        archive = subprocess.run(
            ["git", "archive", "--format=tar", self.commit], cwd=self.root, capture_output=True, check=True
        ).stdout
        folder.mkdir(parents=True)
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
        return folder


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise StackError("git is missing: a release is made from a git checkout") from error
    if done.returncode:
        raise StackError(f"a release is made from a git checkout: {done.stderr.strip()[-300:]}")
    return done.stdout.rstrip()
