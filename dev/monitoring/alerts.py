"""`make alerts-test`: checks the alerts of k8s/components/monitoring with promtool. tests/monitoring says when each alert
should fire, and when not."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from dev import toolchain
from dev.processes import StackError

ROOT = toolchain.DEV.parent
RULES = ROOT / "k8s" / "components" / "monitoring" / "alerts.yaml"
TESTS = ROOT / "tests" / "monitoring" / "alerts.test.yaml"


def rules() -> dict[str, Any]:
    """Returns the rules as Prometheus reads them, without the PrometheusRule resource around them."""
    found: dict[str, Any] = yaml.safe_load(RULES.read_text())["spec"]
    return found


def judge(rules_file: dict[str, Any], tests: str) -> tuple[bool, str]:
    """Returns whether promtool accepts the rules and the tests pass, and its output."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "rules.yaml").write_text(yaml.safe_dump(rules_file))
        (folder / TESTS.name).write_text(tests)
        said, well = "", True
        for words in (["check", "rules", "rules.yaml"], ["test", "rules", TESTS.name]):
            done = subprocess.run(
                [toolchain.promtool(print), *words], capture_output=True, text=True, cwd=folder, check=False
            )
            well = well and done.returncode == 0
            said += done.stdout + done.stderr
        return well, said


def main() -> None:
    """Prints promtool's output. Exit code 1: a rule is malformed or a test fails."""
    try:
        well, said = judge(rules(), TESTS.read_text())
    except StackError as error:
        sys.exit(str(error))
    print(said.strip())
    tests = yaml.safe_load(TESTS.read_text())["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    fires = sum(bool(check["exp_alerts"]) for check in checks)
    print(
        f"{len(tests)} series of events: {fires} times an alert should fire, {len(checks) - fires} times it should not"
    )
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
