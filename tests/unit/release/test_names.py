"""Files that must name a version or a Python name the same one."""

import re
from pathlib import Path

import pytest

from dev.release.names import CHART, OVERLAYS, disagreeing, texts
from dev.release.version import Version

ROOT = Path(__file__).parents[3]


def test_chart_and_overlays_name_one_version() -> None:
    (named,) = re.findall(r"(?m)^appVersion: (.+)$", (ROOT / CHART).read_text())
    assert disagreeing(ROOT, Version(named)) == []


@pytest.mark.parametrize("name", [CHART, *OVERLAYS])
def test_another_version_is_written_into_each_file(name: str) -> None:
    version = Version("1.0.0rc1")
    assert "1.0.0-rc.1" in texts(ROOT, version)[name]
    assert name in disagreeing(ROOT, version)


def test_each_version_of_the_changelog_says_what_it_asks_of_operators() -> None:
    versions = re.findall(r"(?m)^## \[(.+)\]", (ROOT / "CHANGELOG.md").read_text())
    headings = "".join(re.findall(r"(?m)^## .+$", (ROOT / "docs" / "upgrading.md").read_text()))
    assert versions
    assert [version for version in versions if version not in headings] == []


def test_the_image_has_the_python_that_is_locked_for_and_tested() -> None:
    (image,) = re.findall(r"(?m)^ARG PYTHON=python:(\d+\.\d+)-", (ROOT / "Dockerfile").read_text())
    (locked,) = re.findall(r"--python-version (\d+\.\d+)", (ROOT / "Makefile").read_text())
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
    tested = [version for file in workflows for version in re.findall(r"python-version: \"(.+)\"", file.read_text())]
    assert {image, locked, *tested} == {image}
    assert len(tested) >= len(workflows)
