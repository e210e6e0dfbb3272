"""Provides a repository of its own with today's files, whose commit has a tag."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dev.release.source import Source

ROOT = Path(__file__).parents[3]
TAG = "v9.8.7"


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Today's files, committed or not, as a commit with the tag TAG."""
    root = tmp_path_factory.mktemp("release") / "repository"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "-c", "user.name=Test", "-c", "user.email=test@example.org", "commit", "-qm", "A release")
    git(root, "tag", TAG)
    return Source.of(root)


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True)
