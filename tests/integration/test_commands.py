"""Runs what the pages tell a person to run: the README's example, the scripts of the troubleshooting page."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.integration.stack import StackUnderTest

ROOT = Path(__file__).parents[2]


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
