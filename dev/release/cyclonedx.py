"""Lists what the wheel needs when it runs, as CycloneDX: the locked packages, each with its version, licence and dependencies.

The list is read from a virtual environment into which the lock and the wheel were installed, so it is of this platform and this
Python; what the lock has for other platforms is not in it.
"""

import json
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from dev.processes import StackError
from dev.release.checksums import digest
from dev.release.python_package import run
from dev.release.source import Source

Json = dict[str, Any]
LOCK = "requirements.txt"


def of_wheel(wheel: Path, source: Source) -> Json:
    """Returns the list of the wheel and of the packages that it runs with."""
    with tempfile.TemporaryDirectory() as name:
        python = _installed(wheel, source.root / LOCK, Path(name) / "venv")
        return about(of_environment(python, source), "matrix-account-sync", source, digest(wheel))


def of_environment(python: Path, source: Source) -> Json:
    """Returns the list of the packages that a Python finds, with this project as what they are for."""
    program = Path(sys.executable).with_name("cyclonedx-py")
    options = ["--output-reproducible", "--short-PURLs", "--pyproject", str(source.root / "pyproject.toml")]
    text = run([str(program), "environment", *options, str(python)], source.root, os.environ | source.environment)
    found: Json = json.loads(text)
    return found


def about(bom: Json, name: str, source: Source, sha256: str) -> Json:
    """Completes a list: says which file it is about, and gives it an id that is the same in every build."""
    version = source.version.python
    subject = {"name": name, "version": version, "hashes": [{"alg": "SHA-256", "content": sha256}]}
    bom["metadata"]["component"] |= subject
    bom["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'urn:sha256:{sha256}')}"
    return bom


def _installed(wheel: Path, lock: Path, folder: Path) -> Path:
    """Installs the wheel with its locked packages and returns the Python there, which has no pip of its own."""
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder.parent)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
    run([*pip, "--only-binary", ":all:", "--require-hashes", "-r", str(lock)], folder.parent)
    run([*pip, "--no-deps", "--no-index", str(wheel)], folder.parent)
    # Nothing that the lock lacks may be needed.
    missing = subprocess.run([*pip[:-2], "check"], capture_output=True, text=True, check=False)
    if missing.returncode:
        raise StackError(f"{lock.name} does not fit the wheel: run `make lock`:\n{missing.stdout}")
    return python
