"""Audits 200 users who all drift, on the fakes, for tests of signals and pipes: `python -m ... [--repair] [--hang PATH]`.

With --hang it never gets an answer from paths that end with PATH, and says "hanging" on standard error at the first one.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import typer

from function.accounts.user_state import UserState
from function.accounts.user_store import Versioned
from function.audit.findings import Options
from function.cli.audit import RunOptions, run
from function.cli.audit_report import Report
from function.cli.options import run_or_exit
from function.health import Health
from function.parts import Parts
from function.settings import Settings
from function.telemetry.metrics import Metrics
from tests.support.audits import user
from tests.support.harness import world

USERS = [user(number) for number in range(200)]


def main(repair: bool = False, hang: str = "") -> None:
    """Runs the audit; the exit code is its own."""

    async def hangs(_method: str, path: str) -> None:
        if hang and path.endswith(hang):
            print("hanging", file=sys.stderr, flush=True)
            await anyio.sleep_forever()

    @asynccontextmanager
    async def parts(_: Settings, __: Health, ___: Metrics) -> AsyncIterator[Parts]:
        async with world(*USERS) as w:
            await w.users.write({one: Versioned(UserState(display_name="Ada")) for one in USERS})
            w.homeserver.before = hangs
            yield Parts(w.processor, w.users, w.client, [], w.updater)

    settings = Settings.model_validate({
        "matrix_homeserver_url": "http://127.0.0.1:9", "matrix_server_name": "test.example",
        "app_api_token": "token-of-the-sidecar",
    })  # fmt: skip
    raise typer.Exit(run_or_exit(run(settings, Options(), RunOptions(repair), Report(), parts)))


if __name__ == "__main__":
    typer.run(main)
