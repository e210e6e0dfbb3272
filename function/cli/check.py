"""`check`: verifies every dependency. Writes the state store's probe key, the admin's own probe data, and an image that it
deletes at once; it changes no user's account."""

import asyncio
import os
import struct
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import typer
from rich.console import Console
from rich.table import Table

from function.app import OpenParts, Parts, open_parts
from function.cli.options import settings_or_exit
from function.health import Health
from function.homeserver.synapse import Synapse
from function.outcomes import Reason, Rejected, TryAgain
from function.settings import SECRET_KEY, Settings
from function.telemetry import logs
from function.telemetry.metrics import Metrics

SIDE = 824  # pixels of the sample image: 3 bytes each are 2 MB
UPLOADER = "check"  # no UUID: `audit` takes the upload for no user's, should it be left behind
NO_ONE = "NO-SUCH-USER"  # upper case, which no account's id has
PROBED = {Reason.SECRET_UNAVAILABLE: "secret", Reason.ADMIN_SUSPENDED: "admin account"}
# Where the reason's own advice is for a user's event.
ADVICE = {
    ("uploads", Reason.SYNAPSE_REFUSED): "MATRIX_HOMESERVER_URL must reach Synapse's media API, for uploads and deletions; or raise its `max_upload_size`",
    ("deactivations", Reason.DEACTIVATION_INCOMPLETE): "MATRIX_HOMESERVER_URL must reach Synapse's main process at /_synapse/admin/v1/deactivate",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table; `advice` says how to fix it unless `ok`."""

    what: str
    ok: bool
    found: str
    advice: str = ""


def command() -> None:
    """Check every dependency and say how to fix what fails.

    Checks settings, sidecar, state store, secret, token, admin account, server
    name, rate limit, uploads and deactivations. Uploads an image of 2 MB and
    deletes it; asks to deactivate an id that no account has. Run it where the
    function runs, with the same environment: it uses the same sidecar.

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
        yield _failed(PROBED.get(failure.reason, "token and Synapse"), failure)
        return
    yield Finding("secret", True, f"{settings.secret_name} has {SECRET_KEY}")
    yield Finding("token and Synapse", True, "valid admin token of this server; Synapse reads and writes")
    yield Finding("admin account", True, "neither suspended nor locked")
    expected = settings.matrix_service_user
    if expected:
        same = user == expected
        yield Finding("service user", same, "owns the token" if same else "does not own the token",
                      "set MATRIX_SERVICE_USER to the account that owns the token")  # fmt: skip
    for what, check in CHECKS.items():
        if settings.matrix_dry_run and what != "rate limit":
            yield Finding(what, True, "not tried: MATRIX_DRY_RUN")
            continue
        try:
            yield await check(parts.synapse, user)
        except (TryAgain, Rejected) as failure:
            yield _failed(what, failure)


async def _rate_limit(synapse: Synapse, user: str) -> Finding:
    lifted = (await synapse.rate_limit(user)).get("messages_per_second") == 0
    advice = 'POST {"messages_per_second": 0, "burst_count": 0} to /_synapse/admin/v1/users/<admin>/override_ratelimit'
    found = "lifted for the admin" if lifted else "applies to the admin: a user's 11th change in a row has to wait"
    return Finding("rate limit", lifted, found, advice)


async def _uploads(synapse: Synapse, _user: str) -> Finding:
    """Uploads an image as large as a photograph: a proxy in front of Synapse may refuse what Synapse takes."""
    mxc = await synapse.upload(sample_image(), "image/png", UPLOADER)
    await synapse.delete_media(mxc)
    return Finding("uploads", True, "an image of 2 MB was uploaded and deleted")


async def _deactivations(synapse: Synapse, _user: str) -> Finding:
    """A worker, or a proxy that passes on only some paths, has no such route."""
    ended = await synapse.deactivate(NO_ONE, erase=False)
    return Finding(
        "deactivations", not ended, "the admin API answers", "report a bug: an id without an account was found"
    )


Check = Callable[[Synapse, str], Awaitable[Finding]]
CHECKS: Mapping[str, Check] = {"rate limit": _rate_limit, "uploads": _uploads, "deactivations": _deactivations}


def sample_image() -> bytes:
    """Returns a PNG of about 2 MB: noise, which does not compress."""
    row = b"\0" + os.urandom(3 * SIDE)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(row * SIDE, 0)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _failed(what: str, failure: TryAgain | Rejected) -> Finding:
    return Finding(
        what, False, f"{failure.reason}: {failure.detail}", ADVICE.get((what, failure.reason), failure.reason.todo)
    )
