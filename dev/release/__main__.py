"""`make release`: builds what a release publishes from the commit that is checked out, into dist/. Publishes and signs nothing."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dev.__main__ import ROOT, run, say
from dev.processes import StackError
from dev.release import (
    chart_package,
    checksums,
    cyclonedx,
    image,
    image_packages,
    names,
    provenance,
    python_package,
    spdx,
)
from dev.release.source import Source

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Steps:
    """Tells each step and how long it took."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def done(self, *files: Path) -> list[Path]:
        now = time.monotonic()
        for file in files:
            say(f"{file.name} ({file.stat().st_size:,} bytes)")
        say(f"  {now - self._began:.1f} s")
        self._began = now
        return list(files)


@cli.command()
def release(
    base: Annotated[
        str, typer.Option(help="Base of the image: a name with digest, or `debian`, made of its packages.")
    ] = "",
    mount: Annotated[
        list[Path] | None, typer.Option(help="A file that the image's build may read, such as pip.conf.")
    ] = None,
    target: Annotated[Path, typer.Option(help="Where the files go; what is there is deleted.")] = ROOT / "dist",
) -> None:
    """Build wheel, sdist, chart, image, lists of packages, checksums and the provenance statement."""
    source = Source.of(ROOT)
    disagreeing = names.disagreeing(ROOT, source.version)
    if source.version.is_release and disagreeing:
        raise StackError(
            f"the tag says {source.version.python}, but not {', '.join(disagreeing)}: "
            f"`python -m dev.release.names {source.version.python}`, commit, and tag that commit"
        )
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    say(f"{source.version.python}, commit {source.commit}")
    files, built = _build(source, target, base, mount or [])
    files.append(provenance.write(target, files, source, built))
    checksums.write(target, files)
    say(f"{checksums.NAME}: {len(files)} files; nothing is signed or published")


def _build(source: Source, target: Path, base: str, mounts: Sequence[Path]) -> tuple[list[Path], image.Image | None]:
    steps = Steps()
    sdist, wheel = python_package.build(source, target)
    files = steps.done(sdist, wheel)
    with tempfile.TemporaryDirectory() as folder:
        exported = source.export(Path(folder) / "source")
        files += steps.done(chart_package.build(source, exported, target))
        files += steps.done(*_lists(cyclonedx.of_wheel(wheel, source), source, target, "wheel"))
        why_not = image.missing(base)
        if why_not:
            say(f"no image: {why_not}")
            return files, None
        built = image.build(source, exported, target, base, mounts)
    files += steps.done(built.archive)
    files += steps.done(*_lists(image_packages.of_image(built, source), source, target, "image"))
    say(f"image {built.digest} on {built.base}")
    return files, built


def _lists(bom: cyclonedx.Json, source: Source, target: Path, of: str) -> list[Path]:
    """Writes a list of packages in both formats."""
    written = []
    for kind, document in (("cdx", bom), ("spdx", spdx.of_cyclonedx(bom, source))):
        file = target / f"{of}.{kind}.json"
        file.write_text(spdx.text_of(document))
        written.append(file)
    return written


if __name__ == "__main__":
    run(cli)
