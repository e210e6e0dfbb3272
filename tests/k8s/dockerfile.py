"""Executes the Dockerfile without a container engine: its COPY and RUN steps, in a folder in place of the image's root.
Supports the few instructions of the project's Dockerfile, and no base image: it uses the Python of the tests."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.manifests.rendering import ROOT

Instruction = tuple[str, str]
_DIRECTORIES = ("/app", "/build")


def stages() -> dict[str, list[Instruction]]:
    """Returns the instructions by stage; the last stage's name is empty."""
    text = (ROOT / "Dockerfile").read_text()
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    found: dict[str, list[Instruction]] = {}
    stage = ""
    for line in re.sub(r"\\\n", " ", lines).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stage = rest.partition(" AS ")[2]
            found[stage] = []
        elif word and stage in found:
            found[stage].append((word, re.sub(r"\s+", " ", rest.strip())))
    return found


class Image:
    """The files that the stage `build` makes.

    Args:
        root: an empty folder, used as the image's root.
        arguments: the build's arguments; the others have the Dockerfile's defaults.
    """

    def __init__(self, root: Path, arguments: Mapping[str, str]) -> None:
        self.root, self._arguments = root, arguments
        self.app = root / "app"
        self._here = root

    def build(self) -> None:
        """Executes the stage `build`. Raises CalledProcessError with the output of a step that fails."""
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **self._arguments}
        for word, rest in stages()["build"]:
            if word == "WORKDIR":
                self._here = Path(self._moved(rest))
                self._here.mkdir(parents=True)
            elif word == "COPY":
                *sources, target = rest.split()
                for source in sources:
                    self._copy(source, target)
            elif word == "RUN":
                command = self._moved(rest).replace("python3 -m", f"{sys.executable} -m")
                done = subprocess.run(
                    ["sh", "-euc", command],
                    cwd=self._here,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"{rest}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            elif word == "ARG":
                name, _, default = rest.partition("=")
                environment.setdefault(name, default)
            else:
                assert word == "ENV", f"unknown instruction {word}"

    def _copy(self, source: str, target: str) -> None:
        """Copies the files that .dockerignore does not exclude."""
        allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        assert source in allowed, f"{source} is not in the build's context"
        origin = ROOT / source
        if origin.is_dir():
            shutil.copytree(origin, self._here / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, self._here / target)

    def _moved(self, text: str) -> str:
        for directory in _DIRECTORIES:
            text = re.sub(rf"(?<![\w./-]){directory}\b", str(self.root) + directory, text)
        return text
