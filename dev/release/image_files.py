"""Reads files of an image from its OCI archive, as a container of it would find them: a later layer replaces and removes files
of those before."""

import json
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

_REMOVED, _EMPTIED = ".wh.", ".wh..wh..opq"


def read(archive: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Returns the contents of the files whose path, such as "etc/os-release", is `wanted`."""
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as files:
        index = json.loads(_content(files, "index.json"))
        manifest = json.loads(_blob(files, index["manifests"][0]["digest"]))
        for layer in manifest["layers"]:
            _apply(found, _blob(files, layer["digest"]), wanted)
    return found


def _apply(found: dict[str, bytes], layer_bytes: bytes, wanted: Callable[[str], bool]) -> None:
    with tarfile.open(fileobj=BytesIO(layer_bytes)) as layer:
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


def _blob(files: tarfile.TarFile, digest: str) -> bytes:
    return _content(files, f"blobs/{digest.replace(':', '/')}")


def _content(files: tarfile.TarFile, name: str) -> bytes:
    file = files.extractfile(name)
    return file.read() if file else b""
