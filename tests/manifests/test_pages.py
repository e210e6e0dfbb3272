"""The kubectl commands of all pages, in blocks and in sentences, name the namespace and what exists there. `make k8s-test`
runs the blocks."""

import re
from pathlib import Path

import pytest

from tests.manifests.rendering import K8S, ROOT
from tests.manifests.rules.names import APP, CONFIG_MAP, NAMESPACE

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
# Of what lives in the namespace; `apply -k` and a script's `create -f -` take it from the manifest.
NAMESPACED = re.compile(
    r"kubectl (exec|logs|rollout|scale|patch|set env|get|port-forward|create job|create secret)\b(?! \.\.\.)"
)


def commands(page: Path) -> list[str]:
    """Every kubectl command with an argument, up to the end of its line or of its code in a sentence."""
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    return re.findall(r"(?<![\w/-])(kubectl [a-z-]+ [^`\n|]+)", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_command_names_the_namespace_and_what_is_there(page: Path) -> None:
    for command in commands(page):
        assert set(re.findall(r"(?:-n|namespace) (infra\w+)", command)) <= {NAMESPACE}, command
        if NAMESPACED.match(command):
            assert f"-n {NAMESPACE}" in command or "dapr-system" in command, command
        assert set(re.findall(r"deployment/([\w-]+)", command)) <= {APP}, command
        assert set(re.findall(r"cronjob/([\w-]+)", command)) <= {
            f"{APP}-{folder.name}" for folder in (K8S / "jobs").iterdir()
        }
        assert set(re.findall(r"configmap (\w[\w-]+)", command)) <= {CONFIG_MAP}, command
        assert set(re.findall(r" -c ([\w-]+) ", command)) <= {"function", "daprd"}, command
        for folder in re.findall(r" -k (\S+)", command):
            assert (K8S.parent / folder / "kustomization.yaml").exists(), command


def test_the_commands_of_the_pages_are_found() -> None:
    found = [command for page in PAGES for command in commands(page)]
    assert any("rollout undo" in command for command in found)
    assert any("create job" in command for command in found)
    assert any("matrix-account-sync check" in command for command in found)
