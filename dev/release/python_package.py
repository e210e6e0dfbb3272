"""Builds sdist and wheel. The wheel is built from the sdist, which shows that the sdist is complete and knows its version
without git. Both are the same in every build of a commit."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dev.processes import StackError
from dev.release.source import Source


def build(source: Source, target: Path) -> tuple[Path, Path]:
    """Builds both into `target` and returns them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = source.export(folder / "source")
        _hatchling(files, "sdist", target, os.environ | source.environment)
        (sdist,) = target.glob("*.tar.gz")
        run(["tar", "-xzf", str(sdist), "-C", str(folder)], folder)
        # Without the version: the sdist's own metadata has it.
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(source.time)}
        _hatchling(folder / sdist.name.removesuffix(".tar.gz"), "wheel", target, environment)
        (wheel,) = target.glob("*.whl")
        return sdist, wheel


def _hatchling(folder: Path, kind: str, target: Path, environment: dict[str, str]) -> None:
    run([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)], folder, environment)


def run(command: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    """Runs a command and returns its standard output. Raises StackError with the end of its output if it fails."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"`{' '.join(command[:4])} ...` failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")
    return done.stdout
