"""Reads files of an image from its OCI archive, as a container of it would find them: a later layer replaces and removes files
of those before."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_REMOVED, _EMPTIED = ".wh.", ".wh..wh..opq"


def read(archive: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Returns the contents of the files whose path, such as "etc/os-release", is `wanted`."""
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as files:
        manifest = _blob(files, _json(files, "index.json")["manifests"][0]["digest"])
        for layer in json.loads(manifest)["layers"]:
            with files.extractfile(_path(layer["digest"])) or open("/dev/null", "rb") as packed:  # noqa: PTH123, SIM115
                _apply(found, packed, wanted)
    return found


def _apply(found: dict[str, bytes], packed: Any, wanted: Callable[[str], bool]) -> None:
    with tarfile.open(fileobj=packed) as layer:
        for member in layer:
            path = member.name.removeprefix("./")
            folder, _, name = path.rpartition("/")
            if name == _EMPTIED:
                _remove(found, folder)
            elif name.startswith(_REMOVED):
                _remove(found, f"{folder}/{name.removeprefix(_REMOVED)}".lstrip("/"))
            elif member.isfile() and wanted(path) and (content := layer.extractfile(member)):
                found[path] = content.read()


def _remove(found: dict[str, bytes], path: str) -> None:
    for name in [name for name in found if name == path or name.startswith(f"{path}/")]:
        del found[name]


def _json(files: tarfile.TarFile, name: str) -> Any:
    content = files.extractfile(name)
    return json.loads(content.read()) if content else None


def _blob(files: tarfile.TarFile, digest: str) -> bytes:
    content = files.extractfile(_path(digest))
    return content.read() if content else b""


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
