"""Renders the overlays and every optional component as kustomize does, that of the newest kubectl or of the oldest, and
looks things up in the result. Knows Kubernetes' and Dapr's field names and judges nothing."""

import copy
import functools
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from dev import toolchain

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
OVERLAYS = sorted(folder.name for folder in (K8S / "overlays").iterdir() if folder.is_dir())
COMPONENTS = sorted(file.parent.relative_to(K8S / "components").as_posix()
                    for file in (K8S / "components").rglob("kustomization.yaml"))  # fmt: skip
# What a component needs before it.
NEEDS = {"keda-sasl": ("kafka-sasl", "keda"), "keda-mtls": ("kafka-mtls", "keda")}
MEMBERS = [f"members/{number}" for number in range(1, 3)]
# Of these an overlay has one at most.
INSTEAD_OF = {"kafka-mtls": "kafka-sasl"}
COMMANDS = ["dead-letters", "replay", "audit"]  # that have a Job in every overlay


def components_of(overlay: str) -> set[str]:
    """The components of k8s/components that an overlay lists itself."""
    kustomization = yaml.safe_load((K8S / "overlays" / overlay / "kustomization.yaml").read_text())
    entries = [Path(entry) for entry in kustomization.get("components", [])]
    return {entry.relative_to("../../components").as_posix() for entry in entries if "components" in entry.parts}


# Each overlay, and each overlay with each component that it does not list itself. One component for the number of members
# builds on all of the others.
VARIANTS = [*OVERLAYS, *(f"{overlay}+{component}" for overlay in OVERLAYS for component in COMPONENTS
                         if component not in {*components_of(overlay), *MEMBERS[1:]}),
            # A component that changes another one, which no overlay lists.
            *(f"{overlay}+external-secrets+mas" for overlay in OVERLAYS)]  # fmt: skip

FURTHER_PUBSUB = re.compile(r".*-pubsub-\d+")  # more members of the consumer group

Document = dict[str, Any]
Lines = Mapping[str, list[Any]]  # of a kustomization.yaml, to be added to what it has under each key
KUBECTL = Path(sys.executable).parent / "kubectl"


@functools.cache
def _rendered(variant: str, oldest: bool) -> list[Document]:
    return _documents(_kustomized(variant, {}, {}, oldest=oldest))


def _documents(text: str) -> list[Document]:
    return list(yaml.load_all(text, Loader=yaml.CSafeLoader))


def _kustomized(variant: str, settings: Mapping[str, str], lines: Lines, *, oldest: bool) -> str:
    overlay, *added = variant.split("+")
    folder = K8S / "overlays" / overlay
    if not added and not settings and not lines:
        return kustomize(folder, oldest=oldest)
    # The overlay as it would be after some more lines, and with other settings.
    # kustomize wants relative paths, and compares them after it followed symbolic links.
    with tempfile.TemporaryDirectory() as made:
        home = Path(made).resolve()
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        added = [*itertools.chain.from_iterable(NEEDS.get(one, ()) for one in added), *added]
        gone = {INSTEAD_OF.get(one) for one in added}
        listed = [entry for entry in kustomization.get("components", []) if Path(entry).name not in gone]
        further = [f"../../components/{one}" for one in added]
        kustomization["components"] = [*listed, *(entry for entry in further if entry not in listed)]
        for key, entries in lines.items():
            kustomization[key] = kustomization.get(key, []) + entries
        generated = kustomization["configMapGenerator"][0]
        values = dict(literal.split("=", 1) for literal in generated["literals"]) | dict(settings)
        generated["literals"] = [f"{name}={value}" for name, value in values.items()]
        return _as_if_in(folder, kustomization, home, oldest=oldest)


def _as_if_in(folder: Path, kustomization: Document, home: Path, *, oldest: bool) -> str:
    """What a kustomization.yaml in `folder` would render; it is written to `home`."""
    for kind in ("resources", "components", "transformers"):
        entries = kustomization.get(kind, [])
        kustomization[kind] = [os.path.relpath((folder / entry).resolve(), home) for entry in entries]
    (home / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return kustomize(home, oldest=oldest)


def render_overlay(text: str, *components: str, oldest: bool = False) -> "Manifests":
    """What an overlay of one's own would render, as a folder of k8s/overlays, with some more components."""
    kustomization = yaml.safe_load(text)
    kustomization["components"] += [f"../../components/{component}" for component in components]
    with tempfile.TemporaryDirectory() as made:
        folder = K8S / "overlays" / "own"
        return Manifests(_documents(_as_if_in(folder, kustomization, Path(made).resolve(), oldest=oldest)))


def kustomize(folder: Path, *, oldest: bool = False) -> str:
    """What `kubectl kustomize` prints for a folder: the newest kubectl, or the oldest that docs/deploy.md names."""
    command: list[str | Path] = [_oldest(), "build", folder] if oldest else [KUBECTL, "kustomize", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def _oldest() -> Path:
    """Kustomize of the oldest kubectl, built when it is not there yet."""
    return toolchain.kustomize(print)


def render(
    variant: str, settings: Mapping[str, str] | None = None, lines: Lines | None = None, *, oldest: bool = False
) -> "Manifests":
    """A fresh copy of what `kubectl apply -k` would send; `settings` replace values of the overlay's ConfigMap, `lines`
    are added to its kustomization.yaml, `oldest` renders with the oldest kubectl instead of the newest."""
    if settings or lines:
        return Manifests(_documents(_kustomized(variant, settings or {}, lines or {}, oldest=oldest)))
    return Manifests(copy.deepcopy(_rendered(variant, oldest)))


def unhashed(documents: list[Document]) -> list[Document]:
    """The documents without the hash in the name of the settings' ConfigMap."""
    named = re.sub(r"(matrix-account-sync-config)-[a-z0-9]{10}\b", r"\1", json.dumps(documents))
    return list(json.loads(named))


class Manifests:
    """The documents of one variant."""

    def __init__(self, documents: list[Document]) -> None:
        self.documents = documents

    def of(self, kind: str) -> list[Document]:
        return [document for document in self.documents if document.get("kind") == kind]

    def one(self, kind: str, name: str | None = None) -> Document:
        """The one document of a kind (and name); empty when there is none, so that a rule says what is missing."""
        found = [d for d in self.of(kind) if name in (None, d["metadata"].get("name"))]
        return found[0] if len(found) == 1 else {}

    def names(self, kind: str) -> set[str]:
        return {str(document["metadata"].get("name")) for document in self.of(kind)}

    def component(self, building_block: str) -> Document:
        """The one Dapr component of a building block, such as `pubsub`, that is not one more member of the consumer group."""
        found = [
            c
            for c in self.of("Component")
            if str(dig(c, "spec", "type")).startswith(f"{building_block}.")
            and not FURTHER_PUBSUB.fullmatch(str(dig(c, "metadata", "name")))
        ]
        return found[0] if len(found) == 1 else {}

    @property
    def function(self) -> Document:
        return self.one("Deployment", "matrix-account-sync")

    @property
    def pod(self) -> Document:
        return dig(self.function, "spec", "template") or {}

    @property
    def container(self) -> Document:
        return dig(self.pod, "spec", "containers", 0) or {}

    @property
    def annotations(self) -> Mapping[str, Any]:
        return dig(self.pod, "metadata", "annotations") or {}

    @property
    def settings(self) -> Mapping[str, str]:
        name = dig(self.container, "envFrom", 0, "configMapRef", "name")
        return (name and dig(self.one("ConfigMap", name), "data")) or {}

    def job(self, command: str) -> Document:
        """The CronJob that the Jobs of a command are made from."""
        return self.one("CronJob", f"matrix-account-sync-{command}")

    def pods(self) -> Iterator[tuple[str, Document]]:
        """Every pod template, with a name for messages."""
        for document in self.documents:
            spec = document.get("spec")
            template = dig(document, "spec", "template") or dig(document, "spec", "jobTemplate", "spec", "template")
            if isinstance(spec, dict) and isinstance(template, dict):
                yield f"{document.get('kind')}/{document['metadata'].get('name')}", template


def dig(document: Any, *path: str | int) -> Any:
    """What lies at a path; None where the path ends early."""
    for step in path:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def metadata(component: Document) -> dict[str, Any]:
    """A Dapr component's metadata by name; a reference to a Secret as the tuple (name, key)."""
    found = {}
    for item in dig(component, "spec", "metadata") or []:
        reference = item.get("secretKeyRef")
        found[item.get("name")] = (reference.get("name"), reference.get("key")) if reference else item.get("value")
    return found


def leaves(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every scalar of a document with its path."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from leaves(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from leaves(value, (*path, index))
    else:
        yield path, document
