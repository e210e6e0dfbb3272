"""Runs the README's example."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.integration.stack import StackUnderTest

ROOT = Path(__file__).parents[2]


def test_the_example_of_the_readme_works(world: StackUnderTest) -> None:
    (snippet,) = re.findall(r"<<'PYTHON'\n(.*?)\nPYTHON\n", (ROOT / "README.md").read_text(), re.DOTALL)
    environment = os.environ | world.environment | {"MATRIX_ADMIN_TOKEN_FILE": str(world.stack.synapse.token_file)}
    done = subprocess.run(
        [sys.executable, "-c", snippet], env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.stdout == "Ada Lovelace\n", done.stderr
