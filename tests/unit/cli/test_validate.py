"""`validate` as a producer runs it: rows, counts and exit codes; no setting, no service, no value of a record."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dev.identity_events import DELETED, PROFILE_UPDATED, deleted_payload, profile_payload
from function.cli import cli
from function.cli.exit_codes import ExitCode

USER = "00000000-0000-4000-8000-000000000001"
GOOD = json.dumps(deleted_payload(USER))
BAD = json.dumps(deleted_payload("Ada Lovelace"))
IGNORED = json.dumps(
    {"payload": {"user_id": USER}, "headers": ["event_type", "identity.user.two_fa_enabled"], "key": USER}
)
OTHER_FORM = json.dumps({"headers": {}, "value": "Ada Lovelace"})


def validate(content: str | bytes, *options: str) -> Any:
    return CliRunner().invoke(cli, ["validate", "-", *options], input=content, env={"COLUMNS": "80"})


def process(*options: str, content: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs the command in an environment that has nothing else."""
    return subprocess.run(
        [sys.executable, "-m", "function", "validate", *options], input=content, capture_output=True, timeout=60, check=False,
        env={"PYTHONPATH": ":".join(sys.path)} | environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "code", "counts"),
    [
        ([GOOD], 0, "1 accepted, 0 ignored, 0 dead letters, 0 unreadable"),
        ([GOOD, IGNORED], 0, "1 accepted, 1 ignored, 0 dead letters, 0 unreadable"),
        ([GOOD, BAD], 1, "1 accepted, 0 ignored, 1 dead letter, 0 unreadable"),
        ([BAD, "no JSON"], 1, "0 accepted, 0 ignored, 2 dead letters, 0 unreadable"),
        ([OTHER_FORM, BAD, GOOD], 2, "1 accepted, 0 ignored, 1 dead letter, 1 unreadable"),
    ],
)
def test_the_exit_code_is_that_of_the_worst_record(lines: list[str], code: int, counts: str) -> None:
    done = validate("\n".join(lines))
    assert done.exit_code == code
    assert done.stdout.splitlines()[-1] == counts
    assert done.stderr == ""


def test_a_row_says_what_the_record_is_why_and_what_to_do() -> None:
    text = " ".join(validate(f"{GOOD}\n{BAD}\n{IGNORED}\n{OTHER_FORM}\n").stdout.split())
    assert "1 accepted identity.user.deleted, hard: the account is deactivated and erased" in text
    assert "2 dead letter invalid_payload (user_id: value_error): A field" in text
    assert "Have the producer send a correct event." in text
    assert "3 ignored a type of the identity service that this service has no use for (unused_type)" in text
    assert '4 unreadable expected {"payload": ..., "headers":' in text


def test_a_key_that_is_not_the_user_id_is_noted_and_fails_nothing() -> None:
    record = {"payload": deleted_payload(USER), "headers": {"event_type": DELETED, "event_id": "e-1"}, "key": "ada"}
    done = validate(json.dumps(record))
    assert done.exit_code == 0
    assert "Note: the key is not the user id" in done.stdout


@pytest.mark.parametrize("options", [["--json"], ["-o", "json"]])
def test_json_is_one_object_a_record_and_then_the_summary(options: list[str]) -> None:
    record = {
        "payload": GOOD,
        "headers": ["event_type", DELETED, "event_id", "e"],
        "key": USER,
        "partition": 3,
        "offset": 17,
        "ts": 5,
    }
    done = validate(f"{json.dumps(record)}\n{BAD}\n{OTHER_FORM}\n", *options)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["record"] == {
        "line": 1, "place": "3:17", "result": "accepted", "type": DELETED, "case": "hard", "reason": "", "detail": "",
        "means": "the account is deactivated and erased: name and avatar go too, messages and files if settings say so", "advice": "", "notes": [],
    }  # fmt: skip
    assert (rows[1]["record"]["result"], rows[1]["record"]["reason"]) == ("dead_letter", "invalid_payload")
    assert "place" not in rows[1]["record"]
    assert rows[2]["record"]["result"] == "unreadable"
    assert rows[3] == {"summary": {"accepted": 1, "ignored": 0, "dead_letter": 1, "unreadable": 1, "exit_code": 2}}


@pytest.mark.parametrize("output", ["table", "json"])
def test_no_value_of_a_record_is_shown(output: str) -> None:
    payload = profile_payload("Ada Lovelace", "Ada Lovelace", avatar="Ada Lovelace")
    records = [
        BAD,
        OTHER_FORM,
        "Ada Lovelace",
        json.dumps({"payload": payload, "headers": {"event_type": PROFILE_UPDATED}, "key": "Ada Lovelace"}),
    ]
    done = validate("\n".join(records), "--output", output)
    assert done.exit_code == ExitCode.INVALID
    assert "Lovelace" not in done.stdout + done.stderr


def test_a_file_is_read_and_needs_no_setting(tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(deleted_payload(USER), indent=2))
    done = process(str(file))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"1 accepted, 0 ignored, 0 dead letters, 0 unreadable\n")


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    done = process(str(tmp_path / name))
    assert (done.returncode, done.stdout) == (ExitCode.INVALID, b"")
    assert done.stderr.startswith(f"matrix-account-sync: {tmp_path / name}: ".encode())
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_input_without_a_record_is_an_error_with_the_form(content: bytes) -> None:
    done = process("-", content=content)
    assert (done.returncode, done.stdout) == (ExitCode.INVALID, b"")
    assert b"no record in it" in done.stderr
    assert b'"payload"' in done.stderr


def test_a_process_without_standard_input_has_no_record() -> None:
    command = ["bash", "-c", f"{sys.executable} -m function validate - <&-"]
    done = subprocess.run(
        command,
        capture_output=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": os.environ["PATH"]},
    )
    assert done.returncode == ExitCode.INVALID
    assert done.stderr.startswith(b"matrix-account-sync: -: no record in it")


@pytest.mark.parametrize("columns", [40, 80])
def test_no_line_is_wider_than_the_terminal_which_need_not_be_utf_8(columns: int) -> None:
    lines = f"{GOOD}\n{BAD}\n{IGNORED}\n{{}}\n".encode()
    done = process("-", content=lines, COLUMNS=str(columns), PYTHONIOENCODING="ascii")
    assert done.stdout.isascii()
    assert max(map(len, done.stdout.splitlines()[:-1])) <= columns


def test_whoever_closes_the_output_ends_it_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "function", "validate", "-"], input=f"{GOOD}\n".encode() * 5000, stdout=writer,
        stderr=subprocess.PIPE, timeout=60, check=False, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (ExitCode.CUT_SHORT, b"")


def test_ctrl_c_ends_it_with_the_counts() -> None:
    """While standard input is a terminal, or a topic that has no end."""
    command = [sys.executable, "-m", "function", "validate", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}
    ) as running:  # fmt: skip
        assert running.stdin
        assert running.stdout
        running.stdin.write(f"{GOOD}\n".encode())
        running.stdin.flush()
        assert b"accepted" in running.stdout.readline()  # it is reading the next record
        running.send_signal(2)
        output, errors = running.communicate(timeout=30)
    assert (running.returncode, errors) == (ExitCode.INTERRUPTED, b"")
    assert output.endswith(b"1 accepted, 0 ignored, 0 dead letters, 0 unreadable\n")
