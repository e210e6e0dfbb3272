"""What a release is built from, and that a second build of a commit gives the same files."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from dev.processes import StackError
from dev.release import chart_package, checksums, python_package
from dev.release.source import Source
from dev.release.version import version_of


def built(source: Source, folder: Path) -> list[Path]:
    folder.mkdir()
    files = source.export(folder / "files")
    return [*python_package.build(source, folder), chart_package.build(source, files, folder)]


def test_two_builds_of_a_commit_are_equal_to_the_last_byte(source: Source, tmp_path: Path) -> None:
    first, second = built(source, tmp_path / "first"), built(source, tmp_path / "second")
    assert [(file.name, checksums.digest(file)) for file in first] == [(f.name, checksums.digest(f)) for f in second]
    assert [file.name for file in first] == [
        "matrix_account_sync-9.8.7.tar.gz",
        "matrix_account_sync-9.8.7-py3-none-any.whl",
        "matrix-account-sync-9.8.7.tgz",
    ]
    sdist, wheel, chart = first
    with tarfile.open(sdist) as archive:
        assert {name.split("/")[1] for name in archive.getnames()} >= {"function", "LICENSE", "PKG-INFO", "README.md"}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    # All of the package is there, and nothing else.
    modules = {str(f.relative_to(source.root)) for f in (source.root / "function").rglob("*") if f.is_file()}
    assert modules <= names
    assert {name.split("/")[0] for name in names} == {"function", "matrix_account_sync-9.8.7.dist-info"}
    with tarfile.open(chart) as archive:
        content = archive.extractfile("matrix-account-sync/Chart.yaml")
        assert content
        named = yaml.safe_load(content)
    assert (named["version"], named["appVersion"]) == ("9.8.7", "9.8.7")


def test_the_sums_are_those_that_sha256sum_reads(tmp_path: Path) -> None:
    files = [tmp_path / "b", tmp_path / "a"]
    for file in files:
        file.write_text(file.name)
    checksums.write(tmp_path, files)
    check = ["sha256sum", "--check", "--strict", checksums.NAME]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    files[0].write_text("another")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_a_commit_after_the_tag_and_a_copy_without_git_have_versions_too(source: Source, tmp_path: Path) -> None:
    after = tmp_path / "after"
    subprocess.run(["git", "clone", "-q", str(source.root), str(after)], check=True)
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "More"], cwd=after, check=True)
    assert version_of(after).semantic.startswith("9.8.8-dev.1+g")
    assert not version_of(after).is_release
    copy = source.export(tmp_path / "copy")
    assert version_of(copy).python == "0.0.0"


def test_files_that_differ_from_the_commit_are_no_release(source: Source, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    subprocess.run(["git", "clone", "-q", str(source.root), str(changed)], check=True)
    (changed / "README.md").write_text("changed")
    (changed / "added.py").touch()
    with pytest.raises(StackError, match=r"README\.md, added\.py: commit or remove them"):
        Source.of(changed)


def test_a_copy_without_git_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="made from a git checkout"):
        Source.of(tmp_path)


def test_the_command_says_so_without_a_traceback(tmp_path: Path) -> None:
    """In a process of its own, with no git to be found."""
    done = subprocess.run(
        [sys.executable, "-m", "dev.release", "--target", str(tmp_path / "dist")],
        cwd=Path(__file__).parents[3], env={"PATH": str(tmp_path), "HOME": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert shutil.which("git", path=str(tmp_path)) is None
    assert done.returncode == 1
    assert "git is missing" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
