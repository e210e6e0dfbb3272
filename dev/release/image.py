"""Builds the image with buildah, which needs neither a daemon nor root, and packs it as an OCI archive. Pushes nothing."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.processes import StackError
from dev.release.python_package import run
from dev.release.source import Source

NAME = "matrix-account-sync"
# The base that `make release BASE=debian` makes of Debian's packages, where no registry can be reached.
DEBIAN, DEBIAN_RELEASE = "debian", "bookworm"
_DEBIAN_IMAGE = f"localhost/python-debian:{DEBIAN_RELEASE}"
_PACKAGES = "python3,python3-venv,ca-certificates"
_PYTHON = "import sys; print('%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True, slots=True)
class Image:
    """A built image.

    Args:
        archive: the file, in OCI's layout.
        digest: of the manifest: what `IMAGE@sha256:...` names.
        base: the image that it was built on.
    """

    archive: Path
    digest: str
    base: str

    @property
    def base_digest(self) -> str:
        """The base's SHA-256, or "" if it was not named by digest."""
        found = re.search(r"@sha256:([0-9a-f]{64})$", self.base)
        return found[1] if found else ""


def missing(base: str) -> str:
    """Returns why no image can be built, or ""."""
    if not base:
        return (
            "no BASE is given: a release's is the Dockerfile's with its digest (python:3.11-slim-bookworm@sha256:...)"
        )
    programs = ["buildah", *(["mmdebstrap"] if base == DEBIAN else [])]
    lacking = [program for program in programs if shutil.which(program) is None]
    return f"{' and '.join(lacking)} missing (Debian has packages of these names)" if lacking else ""


def build(source: Source, files: Path, target: Path, base: str, mounts: Sequence[Path] = ()) -> Image:
    """Builds the image of the commit's `files` on `base`.

    Args:
        mounts: files of this machine that the build may read, such as the pip.conf of a mirror.
    """
    name = _debian_base(source.time) if base == DEBIAN else base
    tag = f"localhost/{NAME}:{source.version.image_tag}"
    arguments = {"PYTHON": name, "VERSION": source.version.python, "REVISION": source.commit}
    _buildah(
        files,
        "build", "--isolation", "chroot", "--format", "oci", "--timestamp", str(source.time), "--no-cache", "--tag", tag,
        *(f"--build-arg={key}={value}" for key, value in arguments.items()),
        *(f"--volume={file}:{file}:ro" for file in mounts),
        "--file", "Dockerfile", ".",
    )  # fmt: skip
    _try(tag, source, files)
    archive = target / f"{NAME}-{source.version.image_tag}.oci.tar"
    with tempfile.NamedTemporaryFile() as digest:
        _buildah(
            files, "push", "--digestfile", digest.name, tag, f"oci-archive:{archive}:{NAME}:{source.version.image_tag}"
        )
        return Image(archive, Path(digest.name).read_text().strip(), base if base != DEBIAN else _DEBIAN_IMAGE)


def _try(tag: str, source: Source, folder: Path) -> None:
    """Runs the image: it must have the commit's version, and the Python that these tests run on."""
    container = _buildah(folder, "from", "--pull-never", tag).strip()
    try:
        start = ("run", "--isolation", "chroot", container, "--")
        said = _buildah(folder, *start, "matrix-account-sync", "--version").strip()
        python = _buildah(folder, *start, "/app/bin/python", "-c", _PYTHON).strip()
    finally:
        _buildah(folder, "rm", container)
    if said != source.version.python:
        raise StackError(f"the image says that it is {said}, not {source.version.python}")
    tested = "{}.{}".format(*sys.version_info)
    if python != tested:
        raise StackError(
            f"the image has Python {python}, and the tests run on {tested}: make the virtual environment with {python}"
        )


def _debian_base(time: int) -> str:
    """Makes an image of Debian's own Python from its packages, and returns its name."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root.tar"
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(time)}
        run(
            ["mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", DEBIAN_RELEASE, str(root)],
            root.parent,
            environment,
        )
        container = _buildah(root.parent, "from", "scratch").strip()
        _buildah(root.parent, "add", container, str(root), "/")
        _buildah(root.parent, "commit", "--rm", "--timestamp", str(time), container, _DEBIAN_IMAGE)
    return _DEBIAN_IMAGE


def _buildah(folder: Path, *arguments: str) -> str:
    try:
        return run(["buildah", *arguments], folder)
    except StackError as error:
        raise StackError(f"the image was not built: {error}") from error
