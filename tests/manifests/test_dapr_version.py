"""One version of Dapr is built, tested, documented, and named by the function."""

import re
from pathlib import Path

import pytest

from function.dapr.proved import PINNED, PROVED

ROOT = Path(__file__).parents[2]


def named(file: str, pattern: str) -> set[str]:
    """Returns each version that the file names so."""
    return set(re.findall(pattern, (ROOT / file).read_text()))


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("dev/go/daprd/go.mod", r"github\.com/dapr/dapr v(\S+)"),
        ("dev/go/dapr-control-plane/go.mod", r"github\.com/dapr/dapr v(\S+)"),
        ("docs/deploy.md", r"dapr/dapr --version (\S+)"),
        ("docs/deploy.md", r"value: \S+/daprd:(\S+)"),
    ],
)
def test_the_version_to_install_is_the_one_that_the_function_names(file: str, pattern: str) -> None:
    assert named(file, pattern) == {PINNED}


def test_the_security_policy_names_every_version_on_which_the_tests_ran() -> None:
    (versions,) = named("SECURITY.md", r"\| Dapr 1\.\d+ \| ([\d., ]+) \|")
    assert tuple(versions.split(", ")) == PROVED
