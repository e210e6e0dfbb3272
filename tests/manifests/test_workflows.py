"""The workflows of a public forge, which no one has run: their own linters accept them, and they call what there is."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from dev import toolchain

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))


def test_actionlint_accepts_the_workflows() -> None:
    done = subprocess.run(
        [toolchain.actionlint(print), *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_each_action_is_named_by_its_commit(file: Path) -> None:
    """A tag can be moved; a commit cannot."""
    actions = re.findall(r"uses: (?!\./)(\S+)", file.read_text())
    assert actions
    assert [action for action in actions if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == []


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_each_target_of_make_exists(file: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z0-9-]+):", (ROOT / "Makefile").read_text()))
    steps = [step for job in yaml.safe_load(file.read_text())["jobs"].values() for step in job.get("steps", [])]
    called = {name for step in steps for name in re.findall(r"\bmake ([a-z0-9-]+)", step.get("run", ""))}
    assert called
    assert called <= targets
