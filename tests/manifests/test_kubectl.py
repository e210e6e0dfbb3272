"""The oldest kubectl that docs/deploy.md names renders the same manifests as the newest, without a word where it can't."""

import re
from pathlib import Path

import pytest

from dev.toolchain import DEV, OLDEST_KUBECTL, OLDEST_KUSTOMIZE
from tests.manifests.deploy_page import PAGE
from tests.manifests.rendering import OVERLAYS, VARIANTS, kustomize, render
from tests.manifests.rules.monitoring import adapted

# Selects by a regular expression, which kustomize understands as one from 5.8 on, and before as a name.
SELECTS_BY_PATTERN = """
resources: [pods.yaml]
replacements:
  - source: {kind: Pod, name: source, fieldPath: metadata.annotations.word}
    targets:
      - select: {kind: Pod, name: "target(-[0-9]+)?"}
        fieldPaths: [metadata.annotations.word]
"""
PODS = """
{apiVersion: v1, kind: Pod, metadata: {name: source, annotations: {word: copied}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: target-2, annotations: {word: set by a test}}}
"""


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_oldest_kubectl_renders_a_variant_as_the_newest_does(variant: str) -> None:
    assert render(variant, oldest=True).documents == render(variant).documents


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_oldest_kubectl_understands_the_lines_of_the_page(overlay: str) -> None:
    assert adapted(overlay, oldest=True).documents == adapted(overlay).documents


def test_the_two_are_as_far_apart_as_they_are_meant_to_be(tmp_path: Path) -> None:
    """The control of the tests above: what the old one does not understand shows."""
    (tmp_path / "kustomization.yaml").write_text(SELECTS_BY_PATTERN)
    (tmp_path / "pods.yaml").write_text(PODS)
    assert "set by a test" in kustomize(tmp_path, oldest=True)
    assert "set by a test" not in kustomize(tmp_path)


def test_the_page_names_the_oldest_kubectl_that_is_tested() -> None:
    assert re.findall(r"kubectl\s([\d.]+)\sor\slater", PAGE) == [OLDEST_KUBECTL]
    pinned = (DEV / "go" / "kustomize" / "go.mod").read_text()
    assert {name: re.findall(rf"kustomize/{name} (\S+)", pinned) for name in OLDEST_KUSTOMIZE} == {
        name: [version] for name, version in OLDEST_KUSTOMIZE.items()
    }
