"""Writes SHA256SUMS, which `sha256sum --check` reads."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

NAME = "SHA256SUMS"


def digest(file: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write(folder: Path, files: Iterable[Path]) -> Path:
    """Writes the sums of `files`, which are in `folder`, and returns the list."""
    sums = folder / NAME
    sums.write_text("".join(f"{digest(file)}  {file.name}\n" for file in sorted(files)))
    return sums
