"""The lists of packages are valid in both formats, and say what is there."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from dev.release import cyclonedx, image_packages, spdx
from dev.release.image import Image
from dev.release.source import Source

SHA = "ab" * 32
STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1:1.0
"""


def assert_valid(bom: cyclonedx.Json, source: Source, folder: Path) -> cyclonedx.Json:
    """Both formats are accepted by their own validators. Returns the list as SPDX."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(spdx.text_of(bom)) is None
    file = folder / "list.spdx.json"
    file.write_text(spdx.text_of(spdx.of_cyclonedx(bom, source)))
    program = Path(sys.executable).with_name("pyspdxtools")
    done = subprocess.run([program, "-i", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    written: cyclonedx.Json = json.loads(file.read_text())
    return written


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The Python of an environment with a few of the function's packages: of them only what an installer wrote about them."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    for name in ("dapr", "httpx", "httpcore", "h11"):
        written = metadata.distribution(name).locate_file(f"{name}-{metadata.version(name)}.dist-info")
        shutil.copytree(str(written), packages / Path(str(written)).name)
    return tmp_path / "venv" / "bin" / "python"


def test_the_packages_of_an_environment_are_listed_with_licences_and_dependencies(
    environment: Path, source: Source, tmp_path: Path
) -> None:
    bom = cyclonedx.about(cyclonedx.of_environment(environment, source), "matrix-account-sync", source, SHA)
    written = assert_valid(bom, source, tmp_path)
    packages = {package["name"]: package for package in written["packages"]}
    assert packages.keys() == {"matrix-account-sync", "dapr", "httpx", "httpcore", "h11"}
    assert packages["dapr"]["versionInfo"] == metadata.version("dapr")
    assert packages["httpx"]["licenseDeclared"] == "BSD-3-Clause"
    assert packages["matrix-account-sync"]["checksums"] == [{"algorithm": "SHA256", "checksumValue": SHA}]
    needed = {(one["spdxElementId"], one["relatedSpdxElement"]) for one in written["relationships"]}
    of = {name: package["SPDXID"] for name, package in packages.items()}
    assert {
        (of["matrix-account-sync"], of["httpx"]),
        (of["httpx"], of["httpcore"]),
        (of["httpcore"], of["h11"]),
    } <= needed
    assert bom["metadata"]["timestamp"].startswith(source.moment.strftime("%Y-%m-%dT%H:%M:%S"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An image of two layers; the second removes a package that the first has."""
    packages = "app/lib/python3.11/site-packages"
    text = "Metadata-Version: 2.4\nName: {}\nVersion: 1.0\nLicense-Expression: MIT\n\nText"
    layers = [
        {
            "./var/lib/dpkg/status": STATUS,
            f"{packages}/kept_one-1.0.dist-info/METADATA": text.format("kept_one"),
            f"{packages}/pip-1.0.dist-info/METADATA": text.format("pip"),
            "usr/local/include/python3.11/patchlevel.h": '#define PY_VERSION              "3.11.9"\n',
        },
        {f"{packages}/.wh.pip-1.0.dist-info": ""},
    ]
    blobs = {f"blobs/sha256/{number}": packed(files) for number, files in enumerate(layers)}
    manifest = json.dumps({"layers": [{"digest": f"sha256:{number}"} for number in range(len(layers))]}).encode()
    index = json.dumps({"manifests": [{"digest": "sha256:manifest"}]}).encode()
    file = tmp_path / "image.oci.tar"
    file.write_bytes(packed(blobs | {"blobs/sha256/manifest": manifest, "index.json": index}))
    return file


def packed(files: dict[str, str] | dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return raw.getvalue()


def test_the_packages_of_an_image_are_those_that_a_container_would_find(
    archive: Path, source: Source, tmp_path: Path
) -> None:
    bom = image_packages.of_image(Image(archive, f"sha256:{SHA}", "base"), source)
    assert [component["purl"] for component in bom["components"]] == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64",
        "pkg:generic/python@3.11.9",
        "pkg:pypi/kept-one@1.0",
    ]
    written = assert_valid(bom, source, tmp_path)
    assert {package["name"] for package in written["packages"]} == {
        "matrix-account-sync",
        "libc6",
        "python",
        "kept_one",
    }
