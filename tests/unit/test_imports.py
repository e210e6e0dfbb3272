"""Which files may import tests."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split() if (path := ROOT / name).is_file()]


def imported(source: str) -> Iterator[str]:
    """Yields the full names that the source imports, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_test_module(name: str) -> bool:
    """Whether a part of the name is that of a file that pytest collects."""
    return name.startswith("tests.") and any(part.startswith("test_") for part in name.split("."))


def test_only_tests_import_tests() -> None:
    outside = [path for path in files() if path.relative_to(ROOT).parts[0] != "tests"]
    found = {
        path.relative_to(ROOT).as_posix(): name
        for path in outside
        for name in imported(path.read_text())
        if name.split(".")[0] == "tests"
    }
    assert found == {}


def test_no_test_module_is_imported() -> None:
    """What two test modules share belongs to tests/support."""
    found = {
        path.relative_to(ROOT).as_posix(): name
        for path in files()
        for name in imported(path.read_text())
        if is_test_module(name)
    }
    assert found == {}


def test_imports_are_found_in_every_form() -> None:
    source = "import a.b\nfrom tests.unit import test_x as y\ndef f() -> None:\n    from c.test_z import d\n"
    names = list(imported(source))
    assert names == ["a.b", "tests.unit.test_x", "c.test_z.d"]
    assert [is_test_module(name) for name in names] == [False, True, False]
