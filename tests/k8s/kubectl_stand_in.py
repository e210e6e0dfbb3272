"""Runs in place of `kubectl` in the pages' commands. What needs a kubelet it does for the pod's processes: `exec` runs the
program with the container's environment and files, `logs` prints the container's log. The rest goes to the real kubectl."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.manifests.rules.names import APP

PLAN = "KUBECTL_STAND_IN"  # the variable with the path of the plan
# What kubectl says when it has understood a command and then finds no node or no pod of that name.
_NO_NODE = ("does not have a host assigned", "is waiting to start")


@dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        kubectl: the real one.
        kubeconfig: for it.
        programs: command line by the program's name in the container.
        environment: of the container.
        logs: files by the container's name.
        done: file to which each command is appended as a line of JSON, with its exit code.
    """

    kubectl: str
    kubeconfig: str
    programs: Mapping[str, Sequence[str]]
    environment: Mapping[str, str]
    logs: Mapping[str, str]
    done: str

    def write(self, folder: Path) -> dict[str, str]:
        """Writes the plan and a program `kubectl`; returns the environment of a shell that finds both."""
        plan, program = folder / "plan.json", folder / "bin" / "kubectl"
        plan.write_text(json.dumps(asdict(self)))
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.k8s.kubectl_stand_in "$@"\n')
        program.chmod(0o755)
        root = str(Path(__file__).parents[2])
        return {PLAN: str(plan), "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": root}


def run(plan: Plan, words: list[str]) -> int:
    """Carries the command out; returns its exit code."""
    if words[0] == "exec":
        return _exec(plan, words)
    if words[0] == "logs":
        return _logs(plan, words)
    return _kubectl(plan, words).returncode


def _exec(plan: Plan, words: list[str]) -> int:
    own, command = words[: words.index("--")], words[words.index("--") + 1 :]
    if f"deployment/{APP}" not in own or own[own.index("-c") + 1] != "function":
        print(f"no such container here: {' '.join(own)}", file=sys.stderr)
        return 127
    # There is no terminal to ask on.
    agreed = ["--yes"] if "-it" in own and "--yes" not in command else []
    line = [*plan.programs[command[0]], *command[1:], *agreed]
    # In the checkout's root, which has the package `function` of these tests.
    root = Path(__file__).parents[2]
    given = None if "-i" in own else subprocess.DEVNULL
    return subprocess.run(line, env=plan.environment, stdin=given, check=False, cwd=root).returncode


def _logs(plan: Plan, words: list[str]) -> int:
    asked = subprocess.run(
        [plan.kubectl, "--kubeconfig", plan.kubeconfig, *words], capture_output=True, text=True, check=False
    )
    if asked.returncode and not any(text in asked.stderr for text in _NO_NODE):
        print(asked.stderr, file=sys.stderr)
        return asked.returncode
    sys.stdout.write(Path(plan.logs[words[words.index("-c") + 1]]).read_text())
    return 0


def _kubectl(plan: Plan, words: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([plan.kubectl, "--kubeconfig", plan.kubeconfig, *words], check=False)


if __name__ == "__main__":
    given = Plan(**json.loads(Path(os.environ[PLAN]).read_text()))
    code = run(given, sys.argv[1:])
    with Path(given.done).open("a") as done:
        done.write(json.dumps({"words": sys.argv[1:], "code": code}) + "\n")
    sys.exit(code)
