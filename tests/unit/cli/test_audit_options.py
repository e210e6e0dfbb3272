"""Options of `audit` that are invalid, or that do not fit each other."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from function.cli import cli
from tests.support.events import ALICE

pytestmark = pytest.mark.usefixtures("environment")

RUNNER = CliRunner()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--repair"], "add --yes, or --dry-run"),
        (["--dry-run"], "--dry-run is for --repair"),
        (["--kind", "nonsense"], "'nonsense' is not one of"),
        (["--from", "17"], "such as accounts:1500"),
        (["--from", "rooms:17"], "such as accounts:1500"),
        (["--from", "users:17"], "goes with --users"),
        (["--kind", "avatar_gone", "--no-avatars"], "leave nothing of --kind"),
        (["--kind", "in_rooms", "--no-rooms"], "leave nothing of --kind"),
        (["--kind", "own_messages"], "--kind own_messages: needs MATRIX_ERASE_MESSAGES=true"),
        (["--kind", "own_media", "--kind", "active"], "--kind own_media: needs MATRIX_ERASE_MEDIA=true"),
        (["--max-repairs", "-1"], "Invalid value for '--max-repairs'"),
        (["--in-flight", "0"], "Invalid value for '--in-flight'"),
        (["--output", "xml"], "'xml' is not one of"),
        (["--limit", "0"], "Invalid value for '--limit'"),
        (["--rate", "-1"], "Invalid value for '--rate'"),
        (["--media-age", "-1"], "Invalid value for '--media-age'"),
    ],
)
def test_an_invalid_option_is_named_and_the_audit_does_not_start(options: list[str], said: str) -> None:
    """Exit code 2, no traceback."""
    result = RUNNER.invoke(cli, ["audit", *options], env={"COLUMNS": "300", "TERM": "dumb"})
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("options", "lines", "said"),
    [
        (["--from", "accounts:5"], "", "goes with --users, and no other does"),
        (["--kind", "orphaned_media"], "", "leave --users out"),
        (["--from", "users:5"], f"{ALICE}\n", "has only 1 lines"),
        ([], f"{ALICE}\nBob\n", "line 2: expected a user's UUID"),
    ],
)
def test_a_list_of_users_that_does_not_fit_is_refused(
    options: list[str], lines: str, said: str, tmp_path: Path
) -> None:
    """From a file and from standard input."""
    (tmp_path / "users").write_text(lines)
    for source, standard_input in ((str(tmp_path / "users"), ""), ("-", lines)):
        arguments = ["audit", "--users", source, *options]
        result = RUNNER.invoke(cli, arguments, input=standard_input, env={"COLUMNS": "300", "TERM": "dumb"})
        assert result.exit_code == 2
        assert said in " ".join(result.output.split())


def test_a_list_of_users_that_is_not_there_is_named() -> None:
    arguments = ["audit", "--users", "no-such-file"]
    result = RUNNER.invoke(cli, arguments, env={"COLUMNS": "300", "TERM": "dumb"})
    assert result.exit_code == 2
    assert "no-such-file: can't be read: No such file" in " ".join(result.output.split())


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MATRIX_SERVER_NAME")
    result = RUNNER.invoke(cli, ["audit"])
    assert result.exit_code == 2
    assert "MATRIX_SERVER_NAME: is not set" in result.output


def test_repair_is_refused_if_the_function_is_in_a_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """With MATRIX_DRY_RUN it would print "repaired" without writing."""
    monkeypatch.setenv("MATRIX_DRY_RUN", "true")
    monkeypatch.setenv("KAFKA_CONSUMER_GROUP_ID", "audit-dry-run")
    result = RUNNER.invoke(cli, ["audit", "--repair", "--yes"], env={"COLUMNS": "300", "TERM": "dumb"})
    assert result.exit_code == 2
    assert "with MATRIX_DRY_RUN=true nothing can be repaired" in " ".join(result.output.split())
