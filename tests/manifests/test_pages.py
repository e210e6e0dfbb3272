"""The commands of kubectl and helm in all pages, in blocks and in sentences, name the namespace and what exists there. `make k8s-test`
runs the blocks."""

import re
from pathlib import Path

import pytest

from tests.manifests.pages import code_of
from tests.manifests.rendering import K8S, ROOT
from tests.manifests.rules.names import APP, CONFIG_MAP, NAMESPACE

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "dev").glob("[!.]*/**/*.md")])
# What concerns no namespace, or takes it from the manifest.
WITHOUT = re.compile(r"kubectl (apply -k|create namespace|create -f|label namespace)\b")


def commands(page: Path) -> list[str]:
    """Every command of kubectl and helm with an argument in the page's blocks and in the code of its sentences."""
    return re.findall(r"(?<![\w/-])((?:kubectl|helm) (?!set env$)[a-z-]+ [^\n|]+)", code_of(page), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_command_names_the_namespace_and_what_is_there(page: Path) -> None:
    for command in commands(page):
        assert set(re.findall(r"(?:-n|namespace) (infra\w+)", command)) <= {NAMESPACE}, command
        if not WITHOUT.match(command):
            assert re.search(rf"(-n|--namespace) ({NAMESPACE}|dapr-system)\b", command), command
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
    assert any(command.startswith("helm upgrade") for command in found)
