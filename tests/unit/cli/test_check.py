"""How `check` prints its rows, and its exit codes for wrong settings."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from function.check.finding import Finding, failed, ok, warning
from function.cli.check import Printer
from function.cli.exit_codes import ExitCode
from function.cli.options import Output

VALID = {
    "MATRIX_HOMESERVER_URL": "http://127.0.0.1:9", "MATRIX_SERVER_NAME": "test.example", "APP_API_TOKEN": "token-of-the-sidecar",
}  # fmt: skip
ROWS = [
    ok("settings", "valid"),
    warning("topic nova.identity.events.matrix.dead", "one replica: " + "many words " * 12, "Raise it."),
    failed("secret", "there is none", "Create the secret [with the key] MATRIX_ADMIN_TOKEN."),
]


def printed(
    output: Output,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[Finding] = ROWS,
    *,
    columns: int = 80,
    encoding: str = "utf-8",
) -> str:
    """Returns what is printed on a terminal of that width and encoding."""
    monkeypatch.setenv("COLUMNS", str(columns))
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace") as stream:
        with redirect_stdout(stream):
            show = Printer(output)
            for row in rows:
                show.row(row)
            show.summary(ExitCode.ATTENTION)
        stream.flush()
        return raw.getvalue().decode(encoding)


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in an environment of its own."""
    paths = {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(
        [sys.executable, "-m", "function", "check", *options], env=paths | environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("columns", [40, 80])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    text = printed(Output.TABLE, monkeypatch, columns=columns)
    assert max(map(len, text.splitlines())) <= columns
    assert text.count("many") == 12
    assert "[with the key]" in " ".join(text.split())
    assert text.endswith("1 ok, 1 warning, 1 not ok\n")


def test_a_terminal_that_is_not_utf_8_gets_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(Output.TABLE, monkeypatch, [ok("état", "naïve\x1b[2J")], encoding="ascii")
    assert r"\xe9tat: na\xefve\x1b[2J" in text


def test_json_is_one_object_a_row_and_then_the_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.loads(line) for line in printed(Output.JSON, monkeypatch).splitlines()]
    assert [line["check"]["mark"] for line in lines[:-1]] == ["ok", "warning", "failed"]
    assert lines[2]["check"] == {
        "what": "secret", "mark": "failed", "found": "there is none",
        "advice": "Create the secret [with the key] MATRIX_ADMIN_TOKEN.",
    }  # fmt: skip
    assert lines[-1] == {"summary": {"ok": 1, "warnings": 1, "failed": 1, "exit_code": 1}}


def test_valid_settings_are_checked_without_network(tmp_path: Path) -> None:
    properties = tmp_path / "kafka.properties"
    properties.write_text("security.protocol=SSL\n")
    with socket.create_server(("127.0.0.1", 0)) as broker:
        address = f"127.0.0.1:{broker.getsockname()[1]}"
        done = run("--settings-only", **VALID, KAFKA_CLIENT_CONFIG=str(properties), KAFKA_BROKERS=address)
        broker.setblocking(False)
        with pytest.raises(BlockingIOError):  # no connection was made
            broker.accept()
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 ok, 0 warnings, 0 not ok" in done.stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"MATRIX_SERVER_NAME": "@ada"}, "MATRIX_SERVER_NAME: expected a Matrix server name"),
        ({"KAFKA_CLIENT_CONFIG": "/no/such/file"}, "KAFKA_CLIENT_CONFIG: /no/such/file: No such file"),
        ({"PUBSUB_COMPONENT": "6"}, "PUBSUB_COMPONENT: is not a setting; did you mean PUBSUB_COMPONENTS?"),
    ],
)
@pytest.mark.parametrize("options", [["--settings-only", "--json"], ["-o", "json"]])
def test_a_wrong_setting_is_a_row_and_nothing_is_asked(changes: dict[str, str], said: str, options: list[str]) -> None:
    done = run(*options, **VALID | changes)
    row, summary = (json.loads(line) for line in done.stdout.splitlines())
    assert row["check"]["found"].startswith(said)
    assert summary["summary"]["exit_code"] == done.returncode == 2
    assert done.stderr == ""


def test_each_wrong_setting_is_a_row() -> None:
    done = run("--settings-only")
    assert done.returncode == 2
    assert [name in done.stdout for name in VALID] == [True] * 3


def test_whoever_closes_the_output_ends_it_quietly() -> None:
    """As `check | head` does."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "function", "check", "--settings-only"]
    done = subprocess.run(
        command,
        env=VALID | {"PYTHONPATH": ":".join(sys.path)},
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (ExitCode.CUT_SHORT, b"")


def test_ctrl_c_ends_it_at_once_with_the_counts() -> None:
    """While Kafka's client waits for a broker that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "function", "check"]
        environment = VALID | {"PYTHONPATH": ":".join(sys.path), "KAFKA_BROKERS": address}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            output, errors = process.communicate(timeout=30)
            connection.close()
    assert time.monotonic() - began < 3
    assert (process.returncode, errors) == (ExitCode.INTERRUPTED, "")
    assert output.splitlines()[-1] == "1 ok, 0 warnings, 0 not ok"
