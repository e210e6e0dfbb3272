"""The triage page leads from everything that can wake a person to what to do: each alert, reason, row of `check` and exit code."""

import ast
import re
from collections.abc import Iterator

import pytest
import yaml
from typer.main import get_command

from function.cli import cli
from function.cli.exit_codes import ExitCode
from function.outcomes import Reason
from tests.docs.pages import ROOT, links, prose, section

TRIAGE = (ROOT / "docs" / "triage.md").read_text()
RULES = yaml.safe_load((ROOT / "k8s" / "components" / "monitoring" / "alerts.yaml").read_text())
ALERTS = [rule["alert"] for group in RULES["spec"]["groups"] for rule in group["rules"]]
LEAVES = dict(re.findall(r"^### (\w)\. (.+)$", TRIAGE, re.MULTILINE))
COMMANDS = getattr(get_command(cli), "commands", {})
# A probe that meets them ends readiness too, whatever they are a reason of otherwise.
NOT_READY = {reason for reason in Reason if reason.dependency} | {Reason.TOO_SLOW, Reason.UNEXPECTED}


def leading(title: str) -> dict[str, str]:
    """The first and the second cell of each row under a heading."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", section(TRIAGE, title), re.MULTILINE)
    assert all("](#" in to for _, to in rows[1:])
    return dict(rows[1:])


def test_each_alert_leads_to_a_leaf_and_to_its_section_of_the_runbook() -> None:
    assert list(leading("## By alert")) == ALERTS
    assert [
        f"runbook.md#{alert.lower()}" for alert in ALERTS if f"runbook.md#{alert.lower()}" not in links(TRIAGE)
    ] == []


def test_each_alert_is_a_symptom_of_a_leaf() -> None:
    leaves = section(TRIAGE, "## The tree")
    assert {alert for alert in ALERTS if not re.search(rf"\b{alert}\b", leaves)} == {"MatrixAccountSyncNotReady"}


def test_each_reason_of_not_ready_leads_to_a_leaf() -> None:
    listed = [name for cell in leading("## By reason of not ready") for name in re.findall(r"`([a-z_]+)`", cell)]
    assert sorted(listed) == sorted(str(reason) for reason in NOT_READY)


def parts(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def rows_of_check() -> Iterator[str]:
    """Yields the name of each row that the code can fail, as far as it is a constant."""
    for module in (ROOT / "function" / "check").glob("*.py"):
        tree = ast.parse(module.read_text())
        pairs = [
            pair
            for node in tree.body
            if isinstance(node, ast.Assign)
            for pair in zip(parts(node.targets[0]), parts(node.value), strict=False)
        ]
        constants = {ast.unparse(name): value for name, value in pairs if isinstance(value, ast.Constant)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"failed", "rows"}:
                name = constants.get(ast.unparse(node.args[0]), node.args[0])
                if isinstance(name, ast.Constant):
                    yield str(name.value)


def test_each_row_of_check_that_can_fail_leads_to_a_leaf() -> None:
    """Those of the reference page, which has every row, and those of the code."""
    listed = {name for cell in leading("## By row of `check`") for name in re.split(r", |: ", cell)}
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    cells = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", section(page, "## What `check` verifies"), re.MULTILINE)[1:]
    named = {name for cell in cells for name in re.sub(r" \(.*?\)", "", cell).split(", ")} | set(rows_of_check())
    assert len(named) > 20
    assert named - listed == set()


def test_each_exit_code_is_explained() -> None:
    listed = re.findall(r"^\| (\d+) \|", section(TRIAGE, "## By exit code"), re.MULTILINE)
    assert {str(int(code)) for code in ExitCode} <= set(listed)


def test_picture_and_table_of_the_tree_lead_to_the_same_leaves() -> None:
    tree = section(TRIAGE, "## The tree").partition("\n### ")[0]
    picture = re.search(r"```mermaid\n(.*?)```", tree, re.DOTALL)
    assert picture
    assert dict(re.findall(r' (\w)\["\1 (.+?)"\]', picture[1])) == LEAVES
    assert re.findall(r"\[(\w)\]\(#", prose(tree)) == sorted(LEAVES)
    plain = tree.replace(picture[0], "").replace("`", "")
    questions = re.findall(r'\{"(\d [^"]+\?)"\}', picture[1].replace("'", ""))
    assert re.findall(r"^\| (\d [^|?]+\?)", plain, re.MULTILINE) == questions


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_says_what_is_seen_and_lost_what_to_run_and_when_to_stop(leaf: str) -> None:
    said = section(TRIAGE, f"### {leaf}. {LEAVES[leaf]}").partition("\n## ")[0]
    assert re.findall(r"^- \*\*(.+?):?\*\*", said, re.MULTILINE) == ["Seen", "Lost?", "Run", "Back to bed", "More"]
    assert any(link.partition("#")[0] != "triage.md" for link in links(said))
