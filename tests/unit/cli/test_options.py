"""Values of options that are refused, and what is said about them."""

import contextlib
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from function.cli import cli
from function.cli.values import check_period, check_types, parse_time
from function.settings import ToolSettings

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ToolSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("KAFKA_BROKERS", "127.0.0.1:9")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["replay"], "add --yes, or --dry-run"),
        (["replay", "--yes", "--reason", "nonsense"], "'nonsense' is no reason; expected one of: avatar_"),
        (["dead-letters", "--reason", "synapse_eror"], "did you mean synapse_error?"),
        (["dead-letters", "--type", "deletd"], "did you mean deleted?"),
        (["replay", "--yes", "--type", "UserDeleted"], "did you mean UserDeletedEvent?"),
        (["discard", "--why", "x", "--yes", "--type", "order.made"], "For exactly this text: '=order.made'"),
        (["replay", "--yes", "--user", "ada"], "expected the user's UUID"),
        (["replay", "--yes", "--since", "yesterday"], "is no time"),
        (["replay", "--yes", "--since", "2026-01-01T00:00:00"], "has no time zone"),
        (["dead-letters", "--since", "99999999999d"], "is not between the years 1970 and 2199"),
        (["dead-letters", "--until", "9999-12-31T23:59:59-23:00"], "is not between the years 1970 and 2199"),
        (["dead-letters", "--since", "0000-01-01T00:00:00Z"], "is no time"),
        (["dead-letters", "--since", "1h", "--until", "2h"], "--since is not before --until"),
        (["replay", "--yes", "--from", "events"], "add --since or --from-offset"),
        (["replay", "--yes", "--from", "events", "--since", "1h", "--reason", "not_json"], "is for dead letters"),
        (["replay", "--yes", "--from-offset", "17"], "expected a partition and an offset"),
        (["replay", "--yes", "--max", "0"], "Invalid value for '--max'"),
        (["dead-letters", "--letter", "5"], "such as 3:17"),
        (["dead-letters", "--letter", "5:1", "--since", "1h"], "--letter names the letters"),
        (["replay", "--yes", "--letter", "5:1", "--since", "1h"], "--letter names the letters"),
        (["discard", "--yes", "--why", "x", "--letter", "5:1", "--from-offset", "5:0"], "--letter names the letters"),
        (["dead-letters", "--output", "yaml"], "'yaml' is not one of 'table', 'json'"),
    ],
)
def test_an_invalid_option_is_named_and_the_command_does_not_start(options: list[str], said: str) -> None:
    """Exit code 2, no traceback; nothing on standard output."""
    result = RUNNER.invoke(cli, options, env={"COLUMNS": "2000", "TERM": "dumb"})
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """These commands need fewer settings than the function."""
    monkeypatch.delenv("KAFKA_BROKERS")
    result = RUNNER.invoke(cli, ["dead-letters"])
    assert result.exit_code == 2
    assert "matrix-account-sync: KAFKA_BROKERS: is not set" in result.stderr


@given(st.text(max_size=40) | st.from_regex(r"[0-9]{1,20}[smhd]|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.+-]{0,20}Z?)?"))
def test_any_text_is_a_time_or_is_refused(text: str) -> None:
    """Never another exception, which would be a traceback."""
    found = None
    with contextlib.suppress(typer.BadParameter):
        found = parse_time(text)
    assert found is None or 1970 <= found.year < 2200


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T03:00:00+01:00", datetime(2026, 1, 31, 2, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_in_utc(text: str, time: datetime) -> None:
    """A date is its first moment."""
    assert parse_time(text) == time
    assert parse_time("2h") < datetime.now(UTC) - timedelta(minutes=119)
    check_period(time, time + timedelta(1))


@pytest.mark.parametrize(
    ("named", "type_"),
    [
        ("deleted", "identity.user.deleted"), ("UserDeletedEvent", "identity.user.deleted"),
        ("identity.user.deleted", "identity.user.deleted"), ("=UserDeletedEvent", "identity.user.deleted"),
        ("TwoFAEnabledEvent", "TwoFAEnabledEvent"), ("unknown", "unknown"), ("=unknown", "=unknown"),
        ("=order.made", "=order.made"),
    ],
)  # fmt: skip
def test_a_type_is_known_by_each_of_its_names(named: str, type_: str) -> None:
    assert check_types([named]) == [type_]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("dead-letters --reason synapse_r", ["synapse_refused"]),
        ("replay --type del", ["deleted"]),
        ("discard --reason not", ["not_json"]),
        ("audit --kind react", ["reactivated"]),
        ("dead-letters --output j", ["json"]),
        ("dead-l", ["dead-letters"]),
    ],
)
def test_a_shell_completes_commands_options_and_their_values(words: str, offered: list[str]) -> None:
    """As bash asks, once `--install-completion` has been run."""
    asked = {
        "_MATRIX_ACCOUNT_SYNC_COMPLETE": "complete_bash",
        "COMP_WORDS": f"matrix-account-sync {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    program = "import sys; sys.argv[0] = 'matrix-account-sync'; from function.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | asked, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == offered, done.stderr
