"""Lists the packages of an image as CycloneDX, from its files: Debian's packages, Python's, and the interpreter."""

import re
from collections.abc import Iterator
from email import message_from_bytes
from typing import Any

from dev.release.cyclonedx import about
from dev.release.image import NAME, Image
from dev.release.image_files import read
from dev.release.source import Source

Json = dict[str, Any]
_DPKG = re.compile(r"var/lib/dpkg/status(?:\.d/[^/]+)?")
_METADATA = re.compile(r".*/[^/]+\.dist-info/METADATA")
_PATCHLEVEL = re.compile(r"usr/local/include/python3\.\d+/patchlevel\.h")  # an interpreter that no package brought


def of_image(image: Image, source: Source) -> Json:
    """Returns the list of the image's packages."""
    files = read(image.archive, lambda path: any(kind.fullmatch(path) for kind in (_DPKG, _METADATA, _PATCHLEVEL)))
    found = {component["bom-ref"]: component for component in _components(files)}
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": source.moment.isoformat(),
            "component": {
                "type": "container", "bom-ref": "image", "name": NAME,
                "properties": [{"name": "matrix-account-sync:base", "value": image.base}],
            },
        },
        "components": [found[reference] for reference in sorted(found)],
        "dependencies": [{"ref": "image", "dependsOn": sorted(found)}],
    }  # fmt: skip
    return about(document, NAME, source, image.digest.removeprefix("sha256:"))


def _components(files: dict[str, bytes]) -> Iterator[Json]:
    for path, content in files.items():
        if _DPKG.fullmatch(path):
            for paragraph in content.split(b"\n\n"):
                fields = message_from_bytes(paragraph)
                if fields["Package"] and "installed" in fields.get("Status", "installed").split():
                    qualifiers = f"?arch={fields['Architecture']}"
                    yield _component("deb/debian", fields["Package"], fields["Version"], qualifiers)
        elif _METADATA.fullmatch(path):
            fields = message_from_bytes(content)
            yield _component("pypi", fields["Name"], fields["Version"]) | _licences(fields["License-Expression"])
        else:
            version = re.search(rb'PY_VERSION\s+"([^"]+)"', content)
            yield _component("generic", "python", version[1].decode() if version else "")


def _component(kind: str, name: str, version: str, qualifiers: str = "") -> Json:
    # Package URLs encode what has a meaning in them; pypi's names are lower case with hyphens.
    shown = re.sub(r"[-_.]+", "-", name).lower() if kind == "pypi" else name.replace("+", "%2B")
    purl = f"pkg:{kind}/{shown}@{version.replace('+', '%2B').replace(':', '%3A')}{qualifiers}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _licences(expression: str | None) -> Json:
    return {"licenses": [{"expression": expression, "acknowledgement": "declared"}]} if expression else {}
