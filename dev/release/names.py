"""Writes a version into the files that must name one, since what reads them knows no git: `python -m dev.release.names 0.2.0`.
They name the last release, or the next one just before its tag; `make release` refuses a tag that they disagree with."""

import re
import sys
from pathlib import Path

from packaging.version import InvalidVersion
from packaging.version import Version as Pep440

from dev.__main__ import ROOT, run
from dev.processes import StackError
from dev.release.chart_package import with_version
from dev.release.version import Version

CHART = "k8s/chart/Chart.yaml"
OVERLAYS = ("k8s/overlays/production/kustomization.yaml", "k8s/overlays/staging/kustomization.yaml")


def texts(root: Path, version: Version) -> dict[str, str]:
    """Returns the text that each file has for this version."""
    chart = with_version((root / CHART).read_text(), version.semantic, version.image_tag)
    tag = f"newTag: {version.image_tag}"
    return {CHART: chart} | {name: re.sub(r"newTag: .*", tag, (root / name).read_text()) for name in OVERLAYS}


def disagreeing(root: Path, version: Version) -> list[str]:
    """Returns the files that name another version."""
    return [name for name, text in texts(root, version).items() if (root / name).read_text() != text]


def main() -> None:
    if len(sys.argv) != 2:
        raise StackError("give the version of the release: python -m dev.release.names 0.2.0")
    try:
        version = Version(str(Pep440(sys.argv[1].removeprefix("v"))))
    except InvalidVersion as error:
        raise StackError(f"{sys.argv[1]} is no version, such as 0.2.0 or 0.2.0rc1") from error
    for name, text in texts(ROOT, version).items():
        (ROOT / name).write_text(text)


if __name__ == "__main__":
    run(main)
