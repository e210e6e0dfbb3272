"""Packs the Helm chart: the same archive in every build of a commit, which `helm package` does not promise."""

import gzip
import re
import tarfile
from io import BytesIO
from pathlib import Path

from dev.release.source import Source

NAME = "matrix-account-sync"


def build(source: Source, files: Path, target: Path) -> Path:
    """Packs the chart of the commit's `files` with the commit's version, and returns the archive."""
    version = source.version
    archive = target / f"{NAME}-{version.semantic}.tgz"
    chart = files / "k8s" / "chart"
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(path for path in chart.rglob("*") if path.is_file()):
            content = path.read_bytes()
            if path.name == "Chart.yaml":
                content = with_version(content.decode(), version.semantic, version.image_tag).encode()
            member = tarfile.TarInfo(f"{NAME}/{path.relative_to(chart)}")
            member.size, member.mtime, member.mode = len(content), source.time, 0o644
            tar.addfile(member, BytesIO(content))
    return archive


def with_version(text: str, version: str, image_tag: str) -> str:
    """Returns Chart.yaml with another version, and another tag of the image."""
    text = re.sub(r"(?m)^version: .*$", f"version: {version}", text)
    return re.sub(r"(?m)^appVersion: .*$", f"appVersion: {image_tag}", text)
