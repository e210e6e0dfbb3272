"""Runs `matrix-account-sync check` next to a running function, and reads what it says."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from tests.integration.stack import StackUnderTest


@dataclass(frozen=True)
class Checked:
    """What a run said: its rows, and its exit code."""

    rows: list[dict[str, str]]
    code: int

    def wrong(self) -> list[str]:
        """Returns what has failed, each once, in order."""
        return list(dict.fromkeys(row["what"] for row in self.rows if row["mark"] == "failed"))

    def found(self) -> str:
        return "\n".join(row["found"] for row in self.rows)

    def row(self, what: str) -> dict[str, str]:
        (found,) = [row for row in self.rows if row["what"] == what]
        return found


def run(world: StackUnderTest, *options: str, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "function", "check", *options]
    environment = os.environ | world.environment | changes
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)


def check(world: StackUnderTest, **changes: str) -> Checked:
    """Runs `check --json`; each failed row has advice, and only the rows and the summary are printed."""
    done = run(world, "--json", **changes)
    assert done.stderr == ""
    *lines, summary = (json.loads(line) for line in done.stdout.splitlines())
    rows = [line["check"] for line in lines]
    assert all(row["advice"] for row in rows if row["mark"] != "ok")
    counts: dict[str, Any] = summary["summary"]
    assert counts["failed"] == sum(row["mark"] == "failed" for row in rows)
    assert counts["exit_code"] == done.returncode
    return Checked(rows, done.returncode)
