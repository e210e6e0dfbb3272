"""Writes how a release was built: an in-toto statement with SLSA's predicate for provenance. It is not signed here; a public
forge's workflow signs it (.github/workflows/release.yaml)."""

import json
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dev.release.checksums import digest
from dev.release.image import NAME as IMAGE_NAME
from dev.release.image import Image
from dev.release.source import Source

NAME = "provenance.intoto.json"
# What of the project decides what is built, in addition to its commit: packages with their hashes.
LOCKED = ("requirements.txt", "requirements-build.txt", "requirements-dev.txt")


def write(folder: Path, files: Iterable[Path], source: Source, image: Image | None = None) -> Path:
    """Writes the statement about `files` into `folder`, and about the image if one was built."""
    statement = folder / NAME
    text = json.dumps(document(sorted(files), source, os.environ, image), indent=2) + "\n"
    statement.write_text(text)
    return statement


def document(
    files: Iterable[Path], source: Source, environment: Mapping[str, str], image: Image | None
) -> dict[str, Any]:
    """Returns the statement."""
    subjects = [{"name": file.name, "digest": {"sha256": digest(file)}} for file in files]
    if image:
        subjects.append({"name": IMAGE_NAME, "digest": {"sha256": image.digest.removeprefix("sha256:")}})
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:matrix-account-sync:make-release:1",
                "externalParameters": {"command": "make release", "version": source.version.python}
                | ({"base": image.base} if image else {}),
                "internalParameters": {
                    "python": platform.python_version(),
                    "platform": f"{platform.system().lower()}-{platform.machine()}",
                    "SOURCE_DATE_EPOCH": str(source.time),
                },
                "resolvedDependencies": list(_inputs(source, image)),
            },
            "runDetails": {"builder": {"id": builder(environment)}, "metadata": _run(environment)},
        },
    }


def builder(environment: Mapping[str, str]) -> str:
    """Returns who built it: a workflow of the forge, or a person's machine, which no one vouches for."""
    workflow = environment.get("GITHUB_WORKFLOW_REF")
    return f"{environment['GITHUB_SERVER_URL']}/{workflow}" if workflow else "urn:matrix-account-sync:builder:local"


def _run(environment: Mapping[str, str]) -> dict[str, str]:
    run = environment.get("GITHUB_RUN_ID")
    if not run:
        return {}
    base = f"{environment['GITHUB_SERVER_URL']}/{environment['GITHUB_REPOSITORY']}"
    return {"invocationId": f"{base}/actions/runs/{run}/attempts/{environment.get('GITHUB_RUN_ATTEMPT', '1')}"}


def _inputs(source: Source, image: Image | None) -> Iterable[dict[str, Any]]:
    git = f"git+{source.repository}@{source.commit}" if "://" in source.repository else f"git:{source.commit}"
    yield {"uri": git, "digest": {"gitCommit": source.commit}}
    for name in LOCKED:
        yield {"name": name, "digest": {"sha256": digest(source.root / name)}}
    if image and image.base_digest:
        yield {"name": image.base, "digest": {"sha256": image.base_digest}}
