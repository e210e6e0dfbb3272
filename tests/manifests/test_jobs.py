"""The Jobs that show and replay dead letters: confined like the function, and what differs is meant to."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from dev.servers.daprd import TOOLS
from function.cli import cli
from tests.manifests.rendering import COMMANDS, K8S, dig, job, kustomize, render
from tests.manifests.rules.names import APP, NAMESPACE

STAGING = render("staging")


def pod(command: str) -> dict[str, Any]:
    found: dict[str, Any] = job(command)["spec"]["template"]
    return found


def test_there_is_a_job_for_each_tool() -> None:
    assert sorted(folder.name for folder in (K8S / "jobs").iterdir()) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_a_job_runs_once_and_ends(command: str) -> None:
    """A second try in the same pod would begin behind the letters that the first had not dealt with."""
    found = job(command)
    assert found["metadata"]["namespace"] == NAMESPACE
    assert found["metadata"]["name"] == TOOLS[command]
    assert found["spec"]["backoffLimit"] == 0
    assert pod(command)["spec"]["restartPolicy"] == "Never"
    assert "--end-sidecar" in dig(pod(command), "spec", "containers", 0, "args")
    assert pod(command)["metadata"]["annotations"]["dapr.io/enable-native-sidecar"] == "false"


@pytest.mark.parametrize("command", COMMANDS)
def test_its_sidecar_is_the_functions_but_for_what_is_meant(command: str) -> None:
    """A mistyped annotation would be ignored by the injector: none is unknown to the rules of the function's."""
    function, own = STAGING.annotations, pod(command)["metadata"]["annotations"]
    differing = {name for name in own if own[name] != function.get(name)}
    assert differing == {"dapr.io/app-id", "dapr.io/config", "dapr.io/enable-native-sidecar"}
    assert own["dapr.io/app-id"] == TOOLS[command]
    assert own["dapr.io/config"] == f"{APP}-dead-letters"
    assert STAGING.one("Configuration", own["dapr.io/config"])
    # No health check: it ends by itself. No account token: it reads no Secret.
    left_out = {name.removeprefix("dapr.io/") for name in function.keys() - own.keys()}
    assert {name for name in left_out if "health" not in name} == {"volume-mounts", "enable-metrics", "metrics-port"}


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_confined_like_the_function(command: str) -> None:
    spec, function = pod(command)["spec"], STAGING.pod["spec"]
    for key in ("securityContext", "serviceAccountName", "automountServiceAccountToken", "enableServiceLinks"):
        assert spec[key] == function[key]
    [container] = spec["containers"]
    for key in ("name", "image", "imagePullPolicy", "securityContext"):
        assert container[key] == STAGING.container[key]
    tokens = [variable for variable in STAGING.container["env"] if variable["name"].endswith("_API_TOKEN")]
    assert container["env"] == tokens
    assert container["envFrom"] == STAGING.container["envFrom"]
    assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("command", COMMANDS)
def test_its_arguments_are_ones_that_the_command_knows(command: str) -> None:
    first, *options = dig(pod(command), "spec", "containers", 0, "args")
    assert first == command
    known = {option for one in getattr(get_command(cli), "commands", {})[command].params for option in one.opts}
    assert set(options) <= known


def test_the_replay_job_moves_nothing_until_somebody_says_so() -> None:
    """And the command of the page makes it move: it finds the place to put the options."""
    page = (Path(__file__).parents[2] / "docs" / "dead-letters.md").read_text()
    assert "--dry-run" in dig(pod("replay"), "spec", "containers", 0, "args")
    [script] = re.findall(r"sed '(s/.*?/.*?/)'", page)
    rendered = kustomize(K8S / "jobs" / "replay").encode()
    made = yaml.safe_load(subprocess.run(["sed", script], input=rendered, capture_output=True, check=True).stdout)
    args = made["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args == ["replay", "--end-sidecar", "--yes", "--reason=synapse_error"]
