"""Checks the admin token, the admin account and Synapse's APIs. Writes the admin's own probe data, and an image that it
deletes at once; changes no user's account."""

import os
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

from function.check.finding import Finding, failed, ok, row_of, rows
from function.homeserver.synapse import Synapse
from function.outcomes import Reason, Rejected, TryAgain
from function.settings import SECRET_KEY, Settings

SIDE = 824  # pixels of the sample image: 3 bytes each are 2 MB
UPLOADER = "check"  # no UUID: `audit` takes the upload for no user's, should it be left behind
NO_ONE = "NO-SUCH-USER"  # upper case, which no account's id has
TOKEN = "token and Synapse"  # noqa: S105 - the name of a row
PROBED = {Reason.SECRET_UNAVAILABLE: "secret", Reason.ADMIN_SUSPENDED: "admin account"}
# Where the reason's own advice is for a user's event.
ADVICE = {
    ("uploads", Reason.SYNAPSE_REFUSED): "MATRIX_HOMESERVER_URL must reach Synapse's media API, for uploads and deletions; or raise its `max_upload_size`",
    ("messages", Reason.SYNAPSE_REFUSED): "MATRIX_ERASE_MESSAGES=true needs Synapse 1.145 or later, reached at its main process",
    ("deactivations", Reason.DEACTIVATION_INCOMPLETE): "MATRIX_HOMESERVER_URL must reach Synapse's main process at /_synapse/admin/v1/deactivate",
}  # fmt: skip


async def homeserver_rows(settings: Settings, synapse: Synapse) -> AsyncIterator[Finding]:
    """Yields the rows of token, account and Synapse; those that need a working token only if there is one."""
    users = list[str]()
    for row in await rows(TOKEN, _probe(settings, synapse, users)):
        yield row
    for user in users:
        checks = CHECKS | ({"messages": _messages} if settings.matrix_erase_messages else {})
        for what, check in checks.items():
            if settings.matrix_dry_run and what != "rate limit":
                yield ok(what, "not tried: MATRIX_DRY_RUN")
                continue
            for row in await rows(what, _checked(what, check(synapse, user))):
                yield row


async def _probe(settings: Settings, synapse: Synapse, users: list[str]) -> list[Finding]:
    """Appends the account that owns the token to `users`, if the token works."""
    try:
        user = await synapse.probe()
    except TryAgain as failure:
        return [row_of(PROBED.get(failure.reason, TOKEN), failure)]
    users.append(user)
    found = [
        ok("secret", f"{settings.secret_name} has {SECRET_KEY}"),
        ok(TOKEN, "valid admin token of this server; Synapse reads and writes"),
        ok("admin account", "neither suspended nor locked"),
    ]
    if expected := settings.matrix_service_user:
        same = user == expected
        found.append(ok("service user", "owns the token") if same else failed(
            "service user", "does not own the token", "set MATRIX_SERVICE_USER to the account that owns the token"
        ))  # fmt: skip
    return found


async def _checked(what: str, check: Awaitable[Finding]) -> list[Finding]:
    try:
        return [await check]
    except (TryAgain, Rejected) as failure:
        return [row_of(what, failure, ADVICE.get((what, failure.reason), ""))]


async def _rate_limit(synapse: Synapse, user: str) -> Finding:
    if (await synapse.rate_limit(user)).get("messages_per_second") == 0:
        return ok("rate limit", "lifted for the admin")
    return failed(
        "rate limit", "applies to the admin: a user's 11th change in a row has to wait",
        'POST {"messages_per_second": 0, "burst_count": 0} to /_synapse/admin/v1/users/<admin>/override_ratelimit',
    )  # fmt: skip


async def _uploads(synapse: Synapse, _user: str) -> Finding:
    """Uploads an image as large as a photograph: a proxy in front of Synapse may refuse what Synapse takes."""
    mxc = await synapse.upload(sample_image(), "image/png", UPLOADER)
    await synapse.delete_media(mxc)
    return ok("uploads", "an image of 2 MB was uploaded and deleted")


async def _deactivations(synapse: Synapse, _user: str) -> Finding:
    """A worker, or a proxy that passes on only some paths, has no such route."""
    if await synapse.deactivate(NO_ONE, erase=False):
        return failed("deactivations", "an id without an account was found", "A bug of this program: report it.")
    return ok("deactivations", "the admin API answers")


async def _messages(synapse: Synapse, user: str) -> Finding:
    """Asks for the rooms of the admin: without this call no room is known whose messages a deletion could redact."""
    await synapse.rooms_of(user)
    return ok("messages", "Synapse lists a user's rooms, in which a deletion redacts messages")


Check = Callable[[Synapse, str], Awaitable[Finding]]
CHECKS: dict[str, Check] = {"rate limit": _rate_limit, "uploads": _uploads, "deactivations": _deactivations}


def sample_image() -> bytes:
    """Returns a PNG of about 2 MB: noise, which does not compress."""
    row = b"\0" + os.urandom(3 * SIDE)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(row * SIDE, 0)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
