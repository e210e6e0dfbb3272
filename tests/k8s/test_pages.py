"""The commands of the pages for operators, run as they stand there: with the real API server, and the
real function and daprd of a pod in place of what a kubelet would reach."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dev.identity_events import new_user, profile, typed
from dev.k8s import toolchain
from dev.k8s.cluster import Cluster
from dev.k8s.control_plane import ControlPlane
from dev.k8s.pod import Pod
from dev.stack import Stack
from tests.integration.stack import wait_until
from tests.k8s.events import Events
from tests.k8s.kubectl_stand_in import Plan
from tests.k8s.namespace import Namespace, settings_for
from tests.manifests.pages import Block, blocks, sentences
from tests.manifests.rendering import ROOT

PAGES = ("triage", "runbook", "dead-letters", "audit")
BLOCKS = [block for page in PAGES for block in blocks(page)]
BLOCKS += [block for block in blocks("deploy") if block.heading == "Jobs"]
SENTENCES = {block.text: block for page in PAGES for block in sentences(page)}.values()  # each command once
EXEC = "kubectl exec deployment/matrix-account-sync -c function -n infrastructure -- matrix-account-sync"
# What the alert on erasures, whose section has commands, needs to be on.
ERASING = {"MATRIX_ERASE_MESSAGES": "true", "MATRIX_ERASE_MEDIA": "true"}
# Commands that can't be run here: what they contain, and why.
NOT_HERE = {
    r"kubectl exec kafka-0": "needs the pod of Kafka",
    r"kubectl port-forward|localhost:8008|logs matrix-synapse-0": "needs the pod of Synapse",
    r"psql|sqlite3": "needs the database's host; the integration tests of the audit run the queries",
    r"\.venv/bin/": "for the local stack; the integration tests run the same commands there",
}
# Exit codes of the tools: 1 is something that needs a person, such as a letter that is not there.
FINE = (0, 1)


def reason_not_to_run(block: Block) -> str:
    return next((reason for pattern, reason in NOT_HERE.items() if re.search(pattern, block.text)), "")


@pytest.fixture(scope="module")
def pod(
    cluster: Cluster, control_plane: ControlPlane, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pod]:
    """Runs a pod of staging with monitoring; it has processed an event, and dead-lettered another."""
    with Namespace(cluster, control_plane, tmp_path_factory.mktemp("pages")) as made:
        made.create_secrets(stack.synapse.token, stack.postgres.url("state"))
        made.apply("staging+monitoring", settings_for(stack) | ERASING)
        running = made.run(made.wait_for_pods(2)[0])
        events, user = Events(stack), new_user()
        stack.create_account(f"nova-{user}", "before")
        events.send(typed("identity.user.deleted", new_user(), {"user_id": "no id"}))
        events.until_named(profile(user, "applied"), "applied")
        wait_until(lambda: events.waiting() == 0, "every event is processed")
        yield running


@pytest.fixture(scope="module")
def desk(pod: Pod, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the operator's folder: a checkout, and a `kubectl`."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "k8s").symlink_to(ROOT / "k8s")
    (folder / "function.log").write_text(pod.function.log.read_text())
    (folder / "users").write_text(f"{new_user()}\n")
    plan = Plan(
        str(toolchain.KUBECTL),
        str(cluster.folder / "admin.kubeconfig"),
        {
            "matrix-account-sync": pod.function_command(),
            "python": pod.command_in_container(sys.executable),
        },
        pod.function_environment(),
        {"function": str(pod.function.log), "daprd": str(pod.sidecar.log)},
        str(folder / "done.json"),
    )
    (folder / "environment.json").write_text(json.dumps(plan.write(folder)))
    return folder


def run(block: Block, desk: Path) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """Runs a block in the operator's folder; returns what it said, and each command of kubectl with its exit code."""
    done = desk / "done.json"
    done.write_text("")
    environment = os.environ | json.loads((desk / "environment.json").read_text())
    ran = subprocess.run(
        ["sh", "-uc", block.text], cwd=desk, env=environment, capture_output=True, text=True, timeout=300, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return ran, [json.loads(line) for line in done.read_text().splitlines()]


@pytest.mark.parametrize("block", [block for block in BLOCKS if not reason_not_to_run(block)], ids=str)
def test_the_commands_of_a_page_work_as_they_stand(block: Block, desk: Path) -> None:
    ran, commands = run(block, desk)
    said = f"{block.text}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
    for command in commands:
        tool = command["words"][0] == "exec"
        assert command["code"] in (FINE if tool else (0,)), f"{command}\n{said}"
    assert len(commands) >= len(re.findall(r"\bkubectl\b", block.text)), said
    for complaint in ("Traceback", "Usage", "not found", "jq: error", "unknown flag", "syntax error"):
        assert complaint not in ran.stderr, said


@pytest.mark.parametrize("block", SENTENCES, ids=str)
def test_a_command_of_a_sentence_works_in_the_container(block: Block, desk: Path) -> None:
    """There is no terminal to confirm on."""
    asks = re.match(r"replay|discard|audit --repair", block.text) and not re.search(r"--yes|--dry-run", block.text)
    ran, commands = run(replace(block, text=f"{EXEC} {block.text}{' --yes' if asks else ''}"), desk)
    assert [command["code"] in FINE for command in commands] == [True], f"{block.text}\n{ran.stdout}\n{ran.stderr}"
    assert "Traceback" not in ran.stderr


def test_a_command_that_is_mistyped_is_found(desk: Path) -> None:
    """The control of the test above."""
    for text in (
        f"{EXEC} chekc",
        f"{EXEC} replay --raeson synapse_error --yes",
        "kubectl get podz -n infrastructure",
        "kubectl logs --prevous -c daprd some-pod",
    ):
        _, [command] = run(Block("", 0, "", text), desk)
        assert command["code"] not in FINE or command["words"][0] != "exec", text
        assert command["code"] != 0, text


def test_most_commands_are_run_and_each_of_the_others_has_a_reason() -> None:
    left_out = [block for block in BLOCKS if reason_not_to_run(block)]
    assert len(left_out) < len(BLOCKS) / 2
    for pattern in NOT_HERE:
        assert any(re.search(pattern, block.text) for block in left_out), f"nothing is left out for {pattern}"
