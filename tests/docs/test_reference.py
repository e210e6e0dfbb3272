"""The docs match the code: the reference pages are up to date, and every name that a page mentions exists."""

import ast
import dataclasses
import html
import json
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from dev.demo import script
from function.accounts.user_state import UserState
from function.accounts.user_store import dump, load
from function.audit.drift import Kind
from function.avatars.fetch import MAX_BYTES
from function.avatars.fetch import SECONDS as AVATAR_SECONDS
from function.cli import cli
from function.dapr.http_server import HEAD_BYTES, REQUEST_SECONDS
from function.dapr.subscription import BATCH_SIZE, BODY_BYTES, HEADERS_BYTES, RECORD_BYTES
from function.dead_letters import publish
from function.events.decode import decode
from function.events.types import TYPES, UserDeleted
from function.outcomes import Outcome, Reason
from function.routes import LIVE_ROUTE, METRICS_ROUTE, READY_ROUTE
from function.settings import SECRET_KEYS, Settings
from function.telemetry.logs import EVENTS, FIELDS
from function.telemetry.metrics import METRICS
from tests.docs.pages import PAGES, ROOT, section

README = (ROOT / "README.md").read_text()
REFERENCE = ROOT / "docs" / "reference"
AUDIT = (ROOT / "docs" / "audit.md").read_text()
MODULES = sorted((ROOT / "function").rglob("*.py"))
COMMANDS = getattr(get_command(cli), "commands", {})


def rows(text: str) -> list[list[str]]:
    """The cells of every table row whose first cell is code."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def log_calls() -> Iterator[tuple[str, str, set[str]]]:
    """Yields name, level and fields of each call of log and log_failure in the code."""
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"log", "log_failure"}
            ):
                failure = node.func.id == "log_failure"
                name = node.args[0 if failure else 1]
                assert isinstance(name, ast.Constant), f"{module.name}:{node.lineno} logs a name that is not a constant"
                level = node.args[0].attr.lower() if isinstance(node.args[0], ast.Attribute) else ""
                fields = {keyword.arg for keyword in node.keywords if keyword.arg}
                yield str(name.value), "error" if failure else level, {"error", "at"} if failure else fields


def test_the_reference_pages_are_up_to_date() -> None:
    """`make docs` writes them."""
    pages = [page for page in PAGES if "[[[cog" in page.read_text()]
    assert {page for page in pages if page.parent == REFERENCE} == set(REFERENCE.glob("*.md"))
    (imports,) = re.findall(r'^COG := .* -p "(.+?)"', (ROOT / "Makefile").read_text(), re.MULTILINE)
    command = [sys.executable, "-m", "cogapp", "-p", imports, "--check", "--diff", *map(str, pages)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("page", "members"),
    [
        ("settings", {name.upper() for name in Settings.model_fields}),
        ("reasons", set(Reason)),
        ("metrics", {metric.name for metric in METRICS} | {label for metric in METRICS for label in metric.labels}),
        ("logs", {event.name for event in EVENTS} | set(FIELDS)),
        ("events", set(TYPES)),
        ("cli", set(COMMANDS)),
    ],
)
def test_a_reference_page_lists_every_member(page: str, members: set[str]) -> None:
    """A table that selects its rows, as those of settings and reasons do, could miss one."""
    text = (REFERENCE / f"{page}.md").read_text()
    listed = [name for row in rows(text) for cell in row[:2] for name in code(cell)]
    listed += re.findall(r"^## (\S+)$", text, re.MULTILINE)
    assert members <= set(listed)
    if page in {"settings", "reasons"}:  # several tables share the members
        first = [code(row[0])[0] for row in rows(text)]
        assert sorted(first) == sorted(members)


def test_every_field_that_a_call_logs_is_in_the_table_of_its_event_and_no_event_is_missing() -> None:
    """The table in logs.py is what the page is made from; the code must hold to it."""
    table = {event.name: event for event in EVENTS}
    calls = list(log_calls())
    assert {name for name, _, _ in calls} | {"library"} == set(table)
    for name, level, fields in calls:
        assert level in table[name].level, name
        assert fields <= set(table[name].fields), name


def test_the_fields_of_the_log_events_are_those_that_the_formatter_lets_through() -> None:
    assert {field for event in EVENTS for field in event.fields} == set(FIELDS) | {"error", "at", "logger"}


def test_a_reason_of_readiness_is_one_that_is_retried() -> None:
    """A dead letter must never make the function not ready."""
    ending_readiness = {reason for reason in Reason if reason.dependency}
    assert ending_readiness
    assert all(reason.retried for reason in ending_readiness)


def test_every_metric_named_in_the_metrics_page_exists() -> None:
    named = set(re.findall(r"`(matrix_account_sync_\w+)`", (REFERENCE / "metrics.md").read_text()))
    assert named == {metric.name for metric in METRICS}


def test_the_examples_of_the_events_page_are_decoded() -> None:
    examples = blocks(REFERENCE / "events.md", "json")
    assert len(examples) == 3
    for example in examples:
        assert isinstance(decode(example.encode(), {}), UserDeleted), example


def test_the_architecture_page_names_every_package_and_every_module_at_the_root() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    parts = {f"function/{path.name}/" for path in (ROOT / "function").iterdir() if (path / "__init__.py").exists()}
    parts |= {f"function/{path.name}" for path in (ROOT / "function").glob("*.py")}
    assert set(re.findall(r"`(function/\w+(?:/|\.py))`", page)) >= parts


def test_the_outcomes_table_has_every_outcome_and_nothing_else() -> None:
    assert [code(row[0])[0] for row in rows(section(README, "## Outcomes"))] == list(Outcome)


def test_every_command_of_the_command_line_is_in_the_readme_and_no_other() -> None:
    assert COMMANDS
    named = set(re.findall(r"`matrix-account-sync ([\w-]+)`", README))
    assert named == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_named_in_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE))
    assert named <= targets


def test_the_health_routes_in_the_docs_are_those_of_the_function() -> None:
    for page in (README, (REFERENCE / "reasons.md").read_text()):
        assert set(re.findall(r"GET (/health/\w+)", page)) == {LIVE_ROUTE, READY_ROUTE}


def test_the_record_in_the_design_page_is_one_that_the_function_reads_and_writes() -> None:
    shown = re.search(r"```json\n(.*?)\n```", (ROOT / "docs" / "how-it-works.md").read_text())
    assert shown
    record = json.loads(shown[1])
    state, unknown = load(shown[1])
    assert json.loads(dump(state)) == record
    assert unknown == {}
    assert record.keys() - {"v", "claims"} == {one.name for one in dataclasses.fields(UserState)} - {
        "last_avatar"
    }  # an erased user's


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, without the indentation of the list that they stand in."""
    found = re.findall(rf"^[ ]*```{language}\n(.*?)^[ ]*```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_shell_block_is_one_that_a_shell_can_read(page: Path) -> None:
    """A lost quote or backslash would show only during an incident."""
    for block in blocks(page, "sh"):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert done.stderr == "", block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_shell_blocks_name_exists(page: Path) -> None:
    """Events, outcomes and fields of the log, containers, options of make's targets, files of the project."""
    text = "\n".join(blocks(page, "sh"))
    assert set(re.findall(r'\.event == "(\w+)"', text)) <= {event.name for event in EVENTS}
    assert set(re.findall(r'\.outcome == "(\w+)"', text)) <= set(Outcome)
    selected = " ".join(re.findall(r"jq (?:-\w+ )?'(.*?)' function\.log", text))
    assert set(re.findall(r"\.([a-z_]+)", selected)) <= {*FIELDS, "time", "level", "event", "error", "at", "logger"}
    assert set(re.findall(r" -c (\w+) -n ", text)) <= {"function", "daprd"}
    assert set(re.findall(r"deployment/([\w-]+)", text)) <= {"matrix-account-sync"}
    for code_of in re.findall(r"python -c '\n(.*?)\n'", text, re.DOTALL):
        ast.parse(code_of)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_test_named_in_a_page_exists(page: Path) -> None:
    """`folder/file`, and `tests/file.py::test`."""
    for named in re.findall(
        r"`((?:function|tests|dev|k8s|components|docs|benchmarks)/[\w./-]*)(?:::(\w+))?`", page.read_text()
    ):
        if named[0].startswith(("dev/.run", "dev/.tools")):
            continue  # made by a run
        file = ROOT / named[0]
        assert file.exists(), named
        if named[1]:
            assert f"def {named[1]}(" in file.read_text(), named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_named_in_a_page_exists(page: Path) -> None:
    """A setting under its old name would have no effect."""
    named = set(
        re.findall(
            r"`((?:KAFKA|MATRIX|AVATAR|APP|LOG|PUBSUB|STATE_STORE|SECRET|DEAD_LETTERS)_[A-Z_]+)[`=]", page.read_text()
        )
    )
    assert named <= {name.upper() for name in Settings.model_fields} | SECRET_KEYS


def test_the_limits_in_the_security_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    mib = 1024 * 1024
    for said in (
        f"413 at {round(BODY_BYTES / mib)} MiB", f"after {REQUEST_SECONDS:.0f} s", f"cut off at {HEAD_BYTES // 1024} KiB",
        f"`BATCH_SIZE` ({BATCH_SIZE})", f"`maxMessageBytes` ({RECORD_BYTES // mib} MiB)", f"{HEADERS_BYTES // 1024} KiB\nof headers",
        f"{MAX_BYTES // mib} MiB, {AVATAR_SECONDS:.0f} s",
    ):  # fmt: skip
        assert said in page, said


def test_the_traces_page_has_every_attribute_of_a_span_and_no_other() -> None:
    table = rows((ROOT / "docs" / "tracing.md").read_text())
    listed = {name for row in table for name in code(row[2])}
    source = (ROOT / "function" / "telemetry" / "tracing.py").read_text()
    assert listed == set(re.findall(r'set_attribute\("([\w.]+)"', source)) | {"outcome.*"}
    assert 'set_attribute(f"outcome.' in source


def test_the_demos_picture_is_of_this_demo_and_takes_nothing_from_elsewhere() -> None:
    """`make demo-picture` draws it."""
    drawn = (ROOT / "docs" / "demo.svg").read_text()
    words = html.unescape(drawn).replace("\xa0", " ")
    for step in script.steps():
        assert step.what in words
        assert step.expected in words
    assert all(person.final in words for person in script.PEOPLE.values())
    assert set(re.findall(r'(?:href|src)="([^#"][^"]*)"|url\(([^#)][^)]*)\)', drawn)) == set()


def test_every_route_in_the_docs_is_one_of_the_function() -> None:
    for page in PAGES:
        assert set(re.findall(r"`GET (/\w[\w/]*)`", page.read_text())) <= {LIVE_ROUTE, READY_ROUTE, METRICS_ROUTE}


def test_the_python_in_the_readme_compiles() -> None:
    snippets = re.findall(r"<<'PYTHON'\n(.*?)\nPYTHON", README, re.DOTALL)
    assert snippets
    for snippet in snippets:
        ast.parse(snippet)


def test_every_folder_of_tests_is_run_by_a_make_target() -> None:
    """`make test` runs pyproject's testpaths; a folder that is in neither is never run, without a warning."""
    tested = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["testpaths"])
    tested |= set(re.findall(r"pytest (tests/\w+)", (ROOT / "Makefile").read_text()))
    assert {
        f"tests/{file.relative_to(ROOT / 'tests').parts[0]}" for file in (ROOT / "tests").rglob("test_*.py")
    } == tested


def test_the_readme_stays_short() -> None:
    assert 110 <= len(README.splitlines()) <= 150


def test_every_header_of_a_dead_letter_is_explained() -> None:
    """Operators may read them with a Kafka tool."""
    page = (ROOT / "docs" / "dead-letters.md").read_text()
    table = {name for row in rows(section(page, "## What a letter holds")) for name in code(row[0])}
    names = {value for value in vars(publish).values() if isinstance(value, str) and value.startswith("x-dead-letter-")}
    assert table == names - {publish.PREFIX}


@pytest.mark.parametrize("command", ["dead-letters", "replay", "discard"])
def test_every_option_of_the_tools_is_explained_and_no_other(command: str) -> None:
    page = (ROOT / "docs" / "dead-letters.md").read_text()
    listed = {
        name
        for row in rows(section(page, "## Options"))
        if row[1] == "all" or command in row[1].split(", ")
        for name in code(row[0])
    }
    options = {option for one in COMMANDS[command].params for option in one.opts}
    assert listed == options


def test_every_kind_of_drift_is_explained_in_the_words_of_the_command() -> None:
    table = {code(row[0])[0]: tuple(row[1:]) for row in rows(section(AUDIT, "## What it finds"))}
    assert table == {kind.value: (kind.means, kind.repair) for kind in Kind}


def test_every_option_of_the_audit_is_explained_and_no_other() -> None:
    listed = {name for row in rows(section(AUDIT, "## Options")) for name in code(row[0])}
    options = COMMANDS["audit"].params
    assert listed == {option for one in options for option in (*one.opts, *one.secondary_opts)}
