"""Writes docs/contract; with `--check`, says instead which files are not up to date. `make docs` and `make check` run it."""

import json
import sys
from pathlib import Path

import yaml

from dev.contract.asyncapi import document
from dev.contract.schemas import schema_files
from function.evidence.message import schema as evidence

EVIDENCE = "evidence.schema.json"  # of what the function publishes; the others are of what it reads
FOLDER = Path(__file__).parents[2] / "docs" / "contract"


class _Plain(yaml.SafeDumper):
    """Writes every value out: an anchor helps no reader."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's own signature
        return True


def contents() -> dict[str, str]:
    """Returns the name and the text of each file."""
    schemas = schema_files() | {EVIDENCE: evidence()}
    texts = {name: json.dumps(schema, indent=2) + "\n" for name, schema in schemas.items()}
    written = yaml.dump(document(), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
    return texts | {"asyncapi.yaml": f"# Written by `make docs` from the code.\n{written}"}


def stale(folder: Path) -> list[str]:
    """Returns the names of files that are missing, differ or do not belong there."""
    wanted = contents()
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} if folder.is_dir() else {}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def write(folder: Path) -> None:
    """Writes every file, and removes the others."""
    folder.mkdir(exist_ok=True)
    texts = contents()
    for path in folder.iterdir():
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def main() -> int:
    """Runs the command; returns the exit code."""
    if "--check" not in sys.argv[1:]:
        write(FOLDER)
        return 0
    for name in (names := stale(FOLDER)):
        print(f"docs/contract/{name} is not up to date; run: make docs")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
