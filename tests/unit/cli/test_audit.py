"""What `audit` prints, its exit codes, and invalid options."""

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from anyio.lowlevel import checkpoint
from typer.testing import CliRunner

from function.app import OpenParts, Parts
from function.audit.drift import Kind
from function.audit.findings import Cursor, Options
from function.cli import cli
from function.cli.audit import INTERRUPTED, RunOptions, run
from function.health import Health
from function.outcomes import Reason, TryAgain
from function.settings import Settings
from function.telemetry.metrics import Metrics
from tests.support.drift_scenarios import MADE
from tests.support.events import ALICE
from tests.support.harness import Harness, world

RUNNER = CliRunner()
SETTINGS = {
    "MATRIX_HOMESERVER_URL": "http://127.0.0.1:9",
    "MATRIX_SERVER_NAME": "test.example",
    "APP_API_TOKEN": "token-of-the-sidecar",
}
REPORT, JSON = RunOptions(repair=False, dry_run=False, rate=0, as_json=False), RunOptions(False, False, 0, True)
REPAIR, DRY = RunOptions(True, False, 0, False), RunOptions(False, True, 0, False)
ALL = Options(media_age=timedelta(0))
MXID = f"@nova-{ALICE}:test.example"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)


def opening(w: Harness, opened: list[Settings] | None = None) -> OpenParts:
    @asynccontextmanager
    async def parts(settings: Settings, _: Health, __: Metrics) -> AsyncIterator[Parts]:
        if opened is not None:
            opened.append(settings)
        yield Parts(w.processor, w.state, w.users, w.client, [], w.updater)

    return parts


async def ran(w: Harness, run_options: RunOptions, options: Options = ALL, cursor: Cursor | None = None) -> int:
    return await run(Settings(), options, cursor, run_options, opening(w))  # type: ignore[call-arg]  # from the environment


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# --- what is printed, and the exit code


@pytest.mark.anyio
async def test_without_drift_the_exit_code_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    async with world(ALICE) as w:
        assert await ran(w, REPORT) == 0
    printed = capsys.readouterr().out
    assert "accounts: 1; uploaded images: 0; drift: 0; repaired: 0; accounts without a record: 1" in printed


@pytest.mark.anyio
@pytest.mark.parametrize("kind", list(Kind))
async def test_each_drift_is_printed_and_the_table_explains_it(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    """Kind, account, and what --repair does. Exit code 1."""
    async with world() as w:
        await MADE[kind](w)
        assert await ran(w, REPORT) == 1
    printed, said = capsys.readouterr()
    assert any(line.split()[:2] == [kind, MXID] and line.endswith("found") for line in printed.splitlines())
    assert " ".join(kind.repair.split()[:3]) in printed
    assert MXID not in said


@pytest.mark.anyio
async def test_repaired_drift_gives_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    async with world() as w:
        await MADE[Kind.REACTIVATED](w)
        assert await ran(w, REPAIR) == 0
        assert w.account()["deactivated"]
    assert f"{MXID}  repaired" in capsys.readouterr().out


@pytest.mark.anyio
async def test_remaining_drift_gives_exit_code_1_and_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    async with world() as w:
        await MADE[Kind.DISPLAY_NAME](w)
        w.homeserver.refused_names.add("Alice")
        assert await ran(w, REPAIR) == 1
    assert f"{MXID}  left: synapse_refused" in capsys.readouterr().out


@pytest.mark.anyio
@pytest.mark.parametrize("run_options", [REPORT, DRY])
async def test_without_repair_the_audit_runs_on_parts_that_cannot_write(
    run_options: RunOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call that writes would have no effect either."""
    opened: list[Settings] = []
    async with world() as w:
        await MADE[Kind.REACTIVATED](w)
        await run(Settings(), ALL, None, run_options, opening(w, opened))  # type: ignore[call-arg]
        assert not w.account()["deactivated"]
    assert [settings.matrix_dry_run for settings in opened] == [True]
    assert ("would: Deactivates the account again" in capsys.readouterr().out) is run_options.dry_run


@pytest.mark.anyio
async def test_json_is_one_object_per_line_and_the_last_is_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    async with world() as w:
        await MADE[Kind.IN_ROOMS](w)
        assert await ran(w, JSON) == 1
    *drifts, last = objects(capsys.readouterr().out)
    assert drifts == [{"drift": {"kind": "in_rooms", "user": MXID, "detail": "3 rooms", "result": "found"}}]
    assert last["summary"] == {
        "accounts": 1, "media": 0, "no_record": 0, "deactivated_elsewhere": 0, "unchecked": {},
        "drift": {"in_rooms": {"found": 1, "repaired": 0}}, "left": 1, "next": None,
    }  # fmt: skip


@pytest.mark.anyio
async def test_an_interrupted_audit_prints_where_to_continue(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends it after the current page, without a traceback; the second audit checks the rest."""
    async with world() as w:
        await MADE[Kind.ORPHANED_MEDIA](w)

        async def interrupts(_method: str, path: str) -> None:
            if path.endswith("/v2/users"):
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(5):  # the event loop handles signals between its iterations
                    await checkpoint()

        w.homeserver.before = interrupts
        assert await ran(w, REPORT) == INTERRUPTED
        printed, said = capsys.readouterr()
        assert "accounts: 1; uploaded images: 0;" in printed
        assert "go on with --from media:0" in said
        w.homeserver.before = None
        assert await ran(w, REPORT, cursor=Cursor.read("media:0")) == 1
        assert "accounts: 0; uploaded images: 1;" in capsys.readouterr().out


@pytest.mark.anyio
async def test_an_unavailable_dependency_gives_exit_code_3_and_says_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And where to continue."""
    async with world(ALICE) as w:
        w.state.down = True
        assert await ran(w, REPORT) == 3
    said = capsys.readouterr().err
    assert f"state_unavailable: down. {Reason.STATE_UNAVAILABLE.todo}" in said
    assert "go on with --from accounts:0" in said


@pytest.mark.anyio
async def test_a_wrong_server_name_gives_exit_code_3_before_any_check() -> None:
    """Otherwise no account would have a record, and there would be no drift."""
    async with world(ALICE) as w:
        w.homeserver.add("@service:elsewhere.example", admin=True)
        w.homeserver.tokens = dict.fromkeys(w.homeserver.tokens, "@service:elsewhere.example")
        assert await ran(w, REPORT) == 3


@pytest.mark.anyio
async def test_a_missing_sidecar_gives_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    @asynccontextmanager
    async def parts(_: Settings, __: Health, ___: Metrics) -> AsyncIterator[Parts]:
        raise TryAgain(Reason.STARTING, "no sidecar")
        yield

    assert await run(Settings(), ALL, None, REPORT, parts) == 3  # type: ignore[call-arg]
    assert "starting: no sidecar" in capsys.readouterr().err


@pytest.mark.anyio
async def test_an_account_that_could_not_be_checked_gives_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    """An unchecked account may have drift."""
    async with world() as w:
        await MADE[Kind.IN_ROOMS](w)
        w.homeserver.failing_for = {"/joined_rooms"}
        assert await ran(w, REPORT) == 1
    assert "1 could not be checked: synapse_error" in capsys.readouterr().out


# --- options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--repair"], "add --yes, or --dry-run"),
        (["--dry-run"], "--dry-run is for --repair"),
        (["--kind", "nonsense"], "'nonsense' is not one of"),
        (["--from", "17"], "such as accounts:1500"),
        (["--from", "rooms:17"], "such as accounts:1500"),
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
