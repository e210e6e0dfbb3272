"""Invalid options of `dead-letters` and `replay`."""

import pytest
from typer.testing import CliRunner

from function.cli import cli
from function.settings import ToolSettings

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ToolSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("APP_API_TOKEN", "token-of-the-sidecar")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["replay"], "add --yes, or --dry-run"),
        (["replay", "--yes", "--reason", "nonsense"], "'nonsense' is no reason"),
        (["replay", "--yes", "--user", "ada"], "expected the user's UUID"),
        (["replay", "--yes", "--since", "yesterday"], "is no time"),
        (["replay", "--yes", "--since", "2026-01-01T00:00:00"], "has no time zone"),
        (["replay", "--yes", "--from", "events"], "add --since or --from-offset"),
        (
            ["replay", "--yes", "--from", "events", "--since", "1h", "--reason", "not_json"],
            "--reason is for dead letters",
        ),
        (["replay", "--yes", "--from-offset", "17"], "expected a partition and an offset"),
        (["replay", "--yes", "--max", "0"], "Invalid value for '--max'"),
        (["dead-letters", "--show", "5"], "such as 3:17"),
    ],
)
def test_an_invalid_option_is_named_and_the_command_does_not_start(options: list[str], said: str) -> None:
    """Exit code 2, no traceback."""
    result = RUNNER.invoke(cli, options, env={"COLUMNS": "300", "TERM": "dumb"})
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """These commands need fewer settings than the function."""
    monkeypatch.delenv("APP_API_TOKEN")
    result = RUNNER.invoke(cli, ["dead-letters"])
    assert result.exit_code == 2
    assert "APP_API_TOKEN: is not set" in result.output
