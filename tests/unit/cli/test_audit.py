"""What `audit` prints, its exit codes, and invalid options."""

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stdout
from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import pytest
from starlette.responses import Response

from function.accounts.user_state import UserState
from function.accounts.user_store import Versioned
from function.audit.drift import Kind
from function.audit.findings import Cursor, Options
from function.cli.audit import RunOptions, run
from function.cli.audit_report import Report
from function.cli.exit_codes import ExitCode
from function.health import Health
from function.outcomes import Reason, TryAgain
from function.parts import OpenParts, Parts
from function.settings import Settings
from function.telemetry.metrics import Metrics
from tests.support.audits import user
from tests.support.drift_scenarios import MADE, world_of
from tests.support.events import ALICE
from tests.support.harness import Harness, world

pytestmark = pytest.mark.usefixtures("environment")

ALL = Options(media_age=timedelta(0))
TABLE, JSON, DRY = Report(), Report(as_json=True), Report(dry_run=True)
MXID = f"@nova-{ALICE}:test.example"


def opening(w: Harness, opened: list[Settings] | None = None) -> OpenParts:
    @asynccontextmanager
    async def parts(settings: Settings, _: Health, __: Metrics) -> AsyncIterator[Parts]:
        if opened is not None:
            opened.append(settings)
        yield Parts(w.processor, w.users, w.client, [], w.updater)

    return parts


async def ran(
    w: Harness, report: Report = TABLE, options: Options = ALL, *, repair: bool = False, cursor: str = "",
    opened: list[Settings] | None = None,
) -> int:  # fmt: skip
    run_options = RunOptions(repair, cursor=Cursor.read(cursor) if cursor else None)
    return await run(Settings(), options, run_options, report, opening(w, opened))  # type: ignore[call-arg]  # environment


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# --- what is printed, and the exit code


@pytest.mark.anyio
async def test_without_drift_the_exit_code_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    async with world(ALICE) as w:
        assert await ran(w) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "accounts: 1; uploaded images: 0; drift: 0; repaired: 0; accounts without a record: 1" in printed


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [kind for kind in MADE if kind is not Kind.MISSING])
async def test_each_drift_is_printed_and_the_summary_explains_it(
    kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kind, account, and what --repair does. Exit code 1."""
    async with world_of(kind) as w:
        await MADE[kind](w)
        assert await ran(w, options=Options(frozenset({kind}))) == 1
    printed, said = capsys.readouterr()
    assert any(line.split()[:2] == [kind, MXID] and line.endswith("found") for line in printed.splitlines())
    assert f"{kind}: 1 found, 0 repaired" in printed
    assert f"{kind.means} --repair: {kind.repair}" in " ".join(printed.split())
    assert MXID not in said


@pytest.mark.anyio
async def test_repaired_drift_gives_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    async with world() as w:
        await MADE[Kind.REACTIVATED](w)
        assert await ran(w, repair=True) == 0
        assert w.account()["deactivated"]
    assert f"{MXID}  repaired" in capsys.readouterr().out


@pytest.mark.anyio
async def test_remaining_drift_gives_exit_code_1_and_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    async with world() as w:
        await MADE[Kind.DISPLAY_NAME](w)
        w.homeserver.refused_names.add("Alice")
        assert await ran(w, repair=True) == 1
    assert f"{MXID}  left: synapse_refused" in capsys.readouterr().out


@pytest.mark.anyio
@pytest.mark.parametrize("report", [TABLE, DRY])
async def test_without_repair_the_audit_runs_on_parts_that_cannot_write(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call that writes would have no effect either."""
    opened: list[Settings] = []
    async with world() as w:
        await MADE[Kind.REACTIVATED](w)
        await ran(w, report, opened=opened)
        assert not w.account()["deactivated"]
    assert [settings.matrix_dry_run for settings in opened] == [True]
    assert ("would be repaired" in capsys.readouterr().out) is report.dry_run


@pytest.mark.anyio
async def test_json_is_one_object_per_line_and_the_last_is_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    async with world() as w:
        await MADE[Kind.IN_ROOMS](w)
        assert await ran(w, JSON) == 1
    *drifts, last = objects(capsys.readouterr().out)
    assert drifts == [{"drift": {"kind": "in_rooms", "user": MXID, "detail": "3 rooms", "result": "found"}}]
    assert last["summary"] == {
        "accounts": 1, "media": 0, "no_record": 0, "deactivated_elsewhere": 0, "unchecked": {},
        "drift": {"in_rooms": {"found": 1, "repaired": 0}}, "left": 1, "not_attempted": 0, "next": None, "exit_code": 1,
    }  # fmt: skip


@pytest.mark.anyio
async def test_an_interrupted_audit_prints_where_to_continue(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C abandons the page in flight, which is read again by the next audit."""
    async with world() as w:
        await MADE[Kind.ORPHANED_MEDIA](w)

        async def interrupts(_method: str, path: str) -> None:
            if path.endswith("/media"):
                os.kill(os.getpid(), signal.SIGINT)
                await anyio.sleep_forever()

        w.homeserver.before = interrupts
        with anyio.fail_after(10):
            assert await ran(w) == ExitCode.INTERRUPTED
        printed, said = capsys.readouterr()
        assert "accounts: 1; uploaded images: 0;" in printed
        assert "stopping; go on with --from media:0" in said
        assert "not finished; go on with --from media:0" in said
        w.homeserver.before = None
        assert await ran(w, cursor="media:0") == 1
        assert "accounts: 0; uploaded images: 1;" in capsys.readouterr().out


@pytest.mark.anyio
async def test_the_limit_of_repairs_gives_exit_code_1_and_where_to_continue(capsys: pytest.CaptureFixture[str]) -> None:
    async with world(*(user(n) for n in range(3))) as w:
        await w.users.write({user(n): Versioned(UserState(display_name="Ada")) for n in range(3)})
        options, report = replace(ALL, max_repairs=1), Report(as_json=True, max_repairs=1)
        assert await ran(w, report, options, repair=True) == ExitCode.ATTENTION
        printed, said = capsys.readouterr()
        summary = objects(printed)[-1]["summary"]
        assert (summary["left"], summary["not_attempted"], summary["exit_code"]) == (0, 2, 1)
        assert "--max-repairs 1 is reached; at least 2 more to repair" in said
        assert f"not finished; go on with --from {summary['next']}" in said
        assert await ran(w, report, options, repair=True, cursor=summary["next"]) == ExitCode.ATTENTION


@pytest.mark.anyio
async def test_a_page_that_does_not_come_in_time_gives_exit_code_3_and_where_to_continue(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """504: the limit of a proxy. Tried twice, and the summary has the reason."""
    async with world(ALICE) as w:
        w.homeserver.intercepts = lambda _, path: Response(status_code=504) if path.endswith("/v2/users") else None
        assert await ran(w, JSON) == ExitCode.UNAVAILABLE
        assert [path for _, path in w.homeserver.requests].count("/_synapse/admin/v2/users") == 2
    printed, said = capsys.readouterr()
    assert objects(printed)[-1]["summary"]["failure"] == Reason.SYNAPSE_ERROR
    assert "go on with --from accounts:0" in said


@pytest.mark.anyio
async def test_a_closed_standard_output_ends_the_audit_and_says_where_to_continue(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As by `| head`: exit code 4, no traceback; what was repaired is counted."""
    reading, writing = os.pipe()
    os.close(reading)
    async with world(*(user(n) for n in range(3))) as w:
        await w.users.write({user(n): Versioned(UserState(display_name="Ada")) for n in range(3)})
        with os.fdopen(writing, "w") as closed, redirect_stdout(closed):
            assert await ran(w, repair=True) == ExitCode.CUT_SHORT
        assert w.account(user(1))["displayname"] != "Ada"
    said = capsys.readouterr().err
    assert "standard output was closed; 1 repaired" in said
    assert "go on with --from accounts:0" in said


@pytest.mark.anyio
async def test_an_unavailable_dependency_gives_exit_code_3_and_says_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And where to continue."""
    async with world(ALICE) as w:
        w.state.down = True
        assert await ran(w) == 3
    said = capsys.readouterr().err
    assert f"state_unavailable: down. {Reason.STATE_UNAVAILABLE.todo}" in said
    assert "go on with --from accounts:0" in said


@pytest.mark.anyio
async def test_a_wrong_server_name_gives_exit_code_3_before_any_check() -> None:
    """Otherwise no account would have a record, and there would be no drift."""
    async with world(ALICE) as w:
        w.homeserver.add("@service:elsewhere.example", admin=True)
        w.homeserver.tokens = dict.fromkeys(w.homeserver.tokens, "@service:elsewhere.example")
        assert await ran(w) == 3


@pytest.mark.anyio
async def test_a_missing_sidecar_gives_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    @asynccontextmanager
    async def parts(_: Settings, __: Health, ___: Metrics) -> AsyncIterator[Parts]:
        raise TryAgain(Reason.STARTING, "no sidecar")
        yield

    assert await run(Settings(), ALL, RunOptions(), TABLE, parts) == 3  # type: ignore[call-arg]
    assert "starting: no sidecar" in capsys.readouterr().err
    assert await run(Settings(), ALL, RunOptions(), JSON, parts) == 3  # type: ignore[call-arg]
    assert objects(capsys.readouterr().out)[-1]["summary"]["failure"] == "starting"


@pytest.mark.anyio
async def test_an_account_that_could_not_be_checked_gives_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    """An unchecked account may have drift."""
    async with world() as w:
        await MADE[Kind.IN_ROOMS](w)
        w.homeserver.failing_for = {"/joined_rooms"}
        assert await ran(w) == 1
    assert "1 could not be checked: synapse_error" in capsys.readouterr().out
