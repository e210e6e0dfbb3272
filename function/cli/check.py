"""`check`: verifies every dependency. Writes only the state store's probe key and the admin's own probe data."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import typer
from rich.console import Console
from rich.table import Table

from function.app import OpenParts, Parts, open_parts
from function.cli.options import settings_or_exit
from function.health import Health
from function.outcomes import Reason, TryAgain
from function.settings import SECRET_KEY, Settings
from function.telemetry import logs
from function.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table; `advice` says how to fix it unless `ok`."""

    what: str
    ok: bool
    found: str
    advice: str = ""


def command() -> None:
    """Check every dependency and say how to fix what fails.

    Checks settings, sidecar, state store, secret, token, server name and rate
    limit. Run it where the function runs, with the same environment: it uses
    the same sidecar.

    Exit codes:
    0: every check passed.
    1: a check failed.
    2: a setting is invalid.
    """
    settings = settings_or_exit(Settings)
    logs.configure("ERROR")
    found = asyncio.run(_collect(settings))
    table = Table("", "checked", "found", "what to do", title="matrix-account-sync check")
    for finding in found:
        mark = "[green]ok[/]" if finding.ok else "[red]not ok[/]"
        table.add_row(mark, finding.what, finding.found, "" if finding.ok else finding.advice)
    Console(width=None if sys.stdout.isatty() else 130).print(table)
    raise typer.Exit(0 if all(finding.ok for finding in found) else 1)


async def _collect(settings: Settings) -> list[Finding]:
    return [finding async for finding in findings(settings)]


async def findings(settings: Settings, parts: OpenParts = open_parts) -> AsyncIterator[Finding]:
    """Yields the result of each check, in the order in which the function needs the dependencies."""
    yield Finding("settings", True, "valid" if settings.enabled else "valid; consuming is switched off")
    try:
        async with parts(settings, Health(), Metrics()) as opened:
            yield Finding("sidecar", True, "answers")
            async for finding in _check_dependencies(settings, opened):
                yield finding
    except TryAgain as failure:
        yield _failed("sidecar", failure)


async def _check_dependencies(settings: Settings, parts: Parts) -> AsyncIterator[Finding]:
    try:
        await parts.state.probe()
        yield Finding("state store", True, f"{settings.state_store_name} is writable")
    except TryAgain as failure:
        yield _failed("state store", failure)
    try:
        user = await parts.synapse.probe()
    except TryAgain as failure:
        yield _failed("secret" if failure.reason is Reason.SECRET_UNAVAILABLE else "token and Synapse", failure)
        return
    yield Finding("secret", True, f"{settings.secret_name} has {SECRET_KEY}")
    yield Finding("token and Synapse", True, "valid admin token of this server; Synapse reads and writes")
    expected = settings.matrix_service_user
    if expected:
        same = user == expected
        yield Finding("service user", same, "owns the token" if same else "does not own the token",
                      "set MATRIX_SERVICE_USER to the account that owns the token")  # fmt: skip
    try:
        yield _rate_limit(await parts.synapse.rate_limit(user))
    except TryAgain as failure:
        yield _failed("rate limit", failure)


def _rate_limit(override: dict[str, object]) -> Finding:
    lifted = override.get("messages_per_second") == 0
    advice = 'POST {"messages_per_second": 0, "burst_count": 0} to /_synapse/admin/v1/users/<admin>/override_ratelimit'
    found = "lifted for the admin" if lifted else "applies to the admin: a user's 11th change in a row has to wait"
    return Finding("rate limit", lifted, found, advice)


def _failed(what: str, failure: TryAgain) -> Finding:
    return Finding(what, False, f"{failure.reason}: {failure.detail}", failure.reason.todo)
