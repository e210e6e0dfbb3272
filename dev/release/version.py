"""Reads the version from the git tag, and writes it as charts and images need it. Nothing else names a version of its own."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version as Pep440

from dev.processes import StackError


@dataclass(frozen=True, slots=True)
class Version:
    """A version as Python's packages have it, such as 0.2.0, or 0.2.1.dev3+g1a2b3c4 three commits after the tag v0.2.0."""

    python: str

    @property
    def semantic(self) -> str:
        """The version as Helm's charts have it: 0.2.1-dev.3+g1a2b3c4."""
        parsed = Pep440(self.python)
        base = ".".join(str(part) for part in (*parsed.release, 0, 0)[:3])
        before = [
            *(map(str, parsed.pre) if parsed.pre else ()),
            *(("dev", str(parsed.dev)) if parsed.is_devrelease else ()),
        ]
        return base + (f"-{'.'.join(before)}" if before else "") + (f"+{parsed.local}" if parsed.local else "")

    @property
    def image_tag(self) -> str:
        """The version as a tag of an image, which may hold no plus sign: 0.2.1-dev.3-g1a2b3c4."""
        return self.semantic.replace("+", "-")

    @property
    def is_release(self) -> bool:
        """Whether the commit has a tag."""
        parsed = Pep440(self.python)
        return not parsed.is_devrelease and parsed.local is None


def version_of(folder: Path) -> Version:
    """Returns the version of a checkout: of the tag, or of the commits after it. Raises StackError if it cannot be read."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "version"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StackError(f"the version cannot be read from git's tags (v1.2.3):\n{done.stderr.strip()[-500:]}")
    return Version(done.stdout.strip().splitlines()[-1])
