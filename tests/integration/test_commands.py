"""Runs the commands as a person does: `check` next to a running function, the README's example."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.integration.stack import StackUnderTest

ROOT = Path(__file__).parents[2]


def check(world: StackUnderTest, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "function", "check"]
    environment = os.environ | world.environment | changes
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_check_finds_everything_in_order(world: StackUnderTest) -> None:
    done = check(world)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if "│ ok" in line]
    assert len(rows) == 10
    assert "not ok" not in done.stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"MATRIX_SERVER_NAME": "other.example", "MATRIX_SERVICE_USER": ""}, "server_name_mismatch"),
        ({"MATRIX_HOMESERVER_URL": "http://127.0.0.1:9"}, "synapse_unavailable"),
        ({"SECRET_NAME": "another-secret"}, "secret_unavailable"),
        ({"STATE_STORE_NAME": "no-such-store"}, "state_unavailable"),
        ({"DAPR_HTTP_PORT": "9"}, "no sidecar yet"),
        ({"MATRIX_SERVICE_USER": "@another:staging.nova.app"}, "does not own the token"),
    ],
)
def test_check_names_what_is_wrong_and_what_to_do(world: StackUnderTest, changes: dict[str, str], said: str) -> None:
    done = check(world, **changes)
    assert done.returncode == 1
    assert said in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_the_example_of_the_readme_works(world: StackUnderTest) -> None:
    (snippet,) = re.findall(r"<<'PYTHON'\n(.*?)\nPYTHON\n", (ROOT / "README.md").read_text(), re.DOTALL)
    environment = os.environ | world.environment | {"MATRIX_ADMIN_TOKEN_FILE": str(world.stack.synapse.token_file)}
    done = subprocess.run(
        [sys.executable, "-c", snippet], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "Ada Lovelace\n", done.stderr


def test_the_scripts_of_the_troubleshooting_page_find_broker_and_synapse(world: StackUnderTest) -> None:
    """They run where there is no `nc` and no `curl`: in the function's container."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    scripts = [textwrap.dedent(script) for script in re.findall(r"python -c '\n(.*?)\n +'", page, re.DOTALL)]
    said = [
        subprocess.run([sys.executable, "-c", script], env=os.environ | world.environment, capture_output=True,
                       text=True, timeout=60, check=True).stdout
        for script in scripts
    ]  # fmt: skip
    assert said == [f"{world.environment['KAFKA_BROKERS']} is reached\n", "200 is what Synapse answers\n"]
