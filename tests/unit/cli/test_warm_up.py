"""What `warm-up` prints, and its exit codes."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from function.accounts.user_state import UserState
from function.cli import cli
from function.cli.exit_codes import ExitCode
from function.cli.warm_up import run
from function.health import Health
from function.parts import OpenParts, Parts
from function.settings import Settings
from function.telemetry.metrics import Metrics
from tests.support.audits import user
from tests.support.events import ALICE
from tests.support.harness import Harness, world

pytestmark = pytest.mark.usefixtures("environment")


def opening(w: Harness) -> OpenParts:
    @asynccontextmanager
    async def parts(settings: Settings, _: Health, __: Metrics) -> AsyncIterator[Parts]:
        w.state.read_only = settings.matrix_dry_run
        yield Parts(w.processor, w.users, w.client, [], w.updater)

    return parts


async def ran(w: Harness, *, dry_run: bool = False, as_json: bool = False) -> ExitCode:
    return await run(Settings(), dry_run=dry_run, as_json=as_json, parts=opening(w))  # type: ignore[call-arg]  # environment


@pytest.mark.anyio
async def test_the_counts_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    async with world(ALICE, user(1)) as w:
        w.account(user(1))["deactivated"] = True
        assert await ran(w) is ExitCode.DONE
    assert capsys.readouterr().out == "2 accounts read: 1 learned, 0 known before, 1 left out (deactivated)\n"


@pytest.mark.anyio
async def test_json_has_the_same_counts_and_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    async with world(ALICE) as w:
        await ran(w, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "summary": {"accounts": 1, "learned": 1, "known": 0, "left_out": 0, "dry_run": False, "exit_code": 0}
    }


@pytest.mark.anyio
async def test_a_dry_run_counts_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    async with world(ALICE) as w:
        await ran(w, dry_run=True)
        assert "1 would be learned" in capsys.readouterr().out
        assert w.state.record(ALICE) == UserState()


@pytest.mark.anyio
async def test_an_outage_is_told_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    async with world(ALICE) as w:
        w.state.down = True
        assert await ran(w) is ExitCode.UNAVAILABLE
    printed = capsys.readouterr()
    assert printed.out.startswith("0 accounts read")
    assert "state_unavailable" in printed.err
    assert "run it again" in printed.err


def test_under_mas_it_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRIX_MAS_URL", "http://mas.example:8081")
    found = CliRunner().invoke(cli, ["warm-up"])
    assert found.exit_code == ExitCode.INVALID
    assert "MATRIX_MAS_URL is set" in found.stderr
