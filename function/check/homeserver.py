"""Checks who owns the accounts, the secret, the admin token, the admin account and Synapse's APIs. Writes the admin's own probe
data, and an image that it deletes at once; changes no user's account."""

import os
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial

from function.check import mas
from function.check.finding import Finding, Mark, failed, ok, row_of, rows
from function.homeserver.client_credentials import Secret
from function.homeserver.delegated import Delegated
from function.homeserver.synapse import Synapse
from function.outcomes import Reason, Rejected, TryAgain
from function.settings import SECRET_KEY, Settings

SIDE = 824  # pixels of the sample image: 3 bytes each are 2 MB
UPLOADER = "check"  # no UUID: `audit` takes the upload for no user's, should it be left behind
NO_ONE = "NO-SUCH-USER"  # upper case, which no account's id has
OWNER, SECRET, TOKEN, ADMIN, SERVICE_USER = "accounts", "secret", "token and Synapse", "admin account", "service user"
# Rows of their own for failures that a check meets on its way.
NAMED = {
    (OWNER, Reason.SYNAPSE_UNAVAILABLE): TOKEN,
    (OWNER, Reason.SYNAPSE_UNEXPECTED): TOKEN,
    **{
        (OWNER, reason): mas.MAS for reason in (Reason.MAS_UNAVAILABLE, Reason.MAS_UNEXPECTED, Reason.MAS_TOKEN_REFUSED)
    },
    (OWNER, Reason.SECRET_UNAVAILABLE): SECRET,
    (TOKEN, Reason.ADMIN_SUSPENDED): ADMIN,
    (TOKEN, Reason.MAS_UNEXPECTED): mas.TOKEN_OWNER,
    (TOKEN, Reason.MAS_TOKEN_REFUSED): SERVICE_USER,  # MAS took the client, and makes no personal session
}
# Where the reason's own advice is for a user's event.
ADVICE = {
    ("uploads", Reason.SYNAPSE_REFUSED): "MATRIX_HOMESERVER_URL must reach Synapse's media API, for uploads and deletions; or raise its `max_upload_size`",
    ("messages", Reason.SYNAPSE_REFUSED): "MATRIX_ERASE_MESSAGES=true needs Synapse 1.145 or later, reached at its main process",
    ("deactivations", Reason.DEACTIVATION_INCOMPLETE): "MATRIX_HOMESERVER_URL must reach Synapse's main process at /_synapse/admin/v1/deactivate",
}  # fmt: skip

Stage = tuple[str, Callable[[], Awaitable[list[Finding]]]]


async def homeserver_rows(settings: Settings, synapse: Synapse, secret: Secret) -> AsyncIterator[Finding]:
    """Yields the rows of the homeserver. What comes first is needed by all that follows: after its failure nothing does."""
    users = list[str]()
    for what, stage in _stages(settings, synapse, secret, users):
        found = await rows(what, _told(what, stage()))
        for row in found:
            yield row
        if any(row.mark is Mark.FAILED for row in found):
            return
    for user in users:
        for what, check in _checks(settings, synapse, user):
            for row in await rows(what, _told(what, check())):
                yield row


def _stages(settings: Settings, synapse: Synapse, secret: Secret, users: list[str]) -> Iterator[Stage]:
    yield OWNER, partial(_owner, settings, synapse)
    yield SECRET, partial(_secret, settings, secret)
    if isinstance(synapse, Delegated):
        yield mas.MAS, partial(mas.client_rows, synapse)
    yield TOKEN, partial(_probe, synapse, users)


def _checks(settings: Settings, synapse: Synapse, user: str) -> Iterator[Stage]:
    if settings.matrix_service_user:
        yield SERVICE_USER, partial(_one, partial(_service_user, settings, user))
    delegated = synapse if isinstance(synapse, Delegated) else None
    if delegated and settings.provider:
        yield mas.PROVIDER, partial(_one, partial(mas.provider_row, settings, delegated))
    yield "rate limit", partial(_one, partial(_rate_limit, synapse, user))
    if settings.matrix_erase_messages:
        yield "messages", partial(_one, partial(_messages, synapse, user))
    writes = {"uploads": partial(_uploads, synapse), "deactivations": partial(_deactivations, synapse)}
    if delegated:
        writes[mas.DEACTIVATIONS] = partial(mas.deactivation_row, delegated)
    for what, check in writes.items():
        yield what, partial(_one, partial(_not_tried, what) if settings.matrix_dry_run else check)


async def _told(what: str, check: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        return await check
    except (TryAgain, Rejected) as failure:
        reason = failure.reason
        return [row_of(NAMED.get((what, reason), what), failure, ADVICE.get((what, reason)) or mas.advice(failure))]


async def _one(check: Callable[[], Awaitable[Finding]]) -> list[Finding]:
    return [await check()]


async def _not_tried(what: str) -> Finding:
    return ok(what, "not tried: MATRIX_DRY_RUN")


async def _owner(settings: Settings, synapse: Synapse) -> list[Finding]:
    await synapse.check_owner()
    return [ok(OWNER, mas.owner(settings))]


async def _secret(settings: Settings, secret: Secret) -> list[Finding]:
    found, needed = await secret.read(), mas.keys(settings)
    for key in needed:
        if not found.get(key, "").strip():
            raise secret.lacks(key)
    has = [ok(SECRET, f"{settings.secret_name} has {' and '.join(needed)}")]
    if settings.matrix_mas_url and found.get(SECRET_KEY, "").strip():
        has.append(ok("admin token", f"{SECRET_KEY} of the secret"))
    elif settings.matrix_mas_url and settings.matrix_service_user:
        has.append(ok("admin token", "of a personal session of MATRIX_SERVICE_USER: each process makes its own"))
    return has


async def _probe(synapse: Synapse, users: list[str]) -> list[Finding]:
    """Appends the account that owns the token to `users`."""
    users.append(await synapse.probe())
    found = [
        ok(TOKEN, "valid admin token of this server; Synapse reads and writes"),
        ok(ADMIN, "neither suspended nor locked"),
    ]
    return [*found, ok(mas.TOKEN_OWNER, "is a user of this MAS")] if isinstance(synapse, Delegated) else found


async def _service_user(settings: Settings, user: str) -> Finding:
    if user == settings.matrix_service_user:
        return ok(SERVICE_USER, "owns the token")
    return failed(SERVICE_USER, "does not own the token", "Set MATRIX_SERVICE_USER to the account that owns the token.")


async def _rate_limit(synapse: Synapse, user: str) -> Finding:
    if (await synapse.rate_limit(user)).get("messages_per_second") == 0:
        return ok("rate limit", "lifted for the admin")
    return failed(
        "rate limit", "applies to the admin: a user's 11th change in a row has to wait",
        'POST {"messages_per_second": 0, "burst_count": 0} to /_synapse/admin/v1/users/<admin>/override_ratelimit',
    )  # fmt: skip


async def _uploads(synapse: Synapse) -> Finding:
    """Uploads an image as large as a photograph: a proxy in front of Synapse may refuse what Synapse takes."""
    mxc = await synapse.upload(sample_image(), "image/png", UPLOADER)
    await synapse.delete_media(mxc)
    return ok("uploads", "an image of 2 MB was uploaded and deleted")


async def _deactivations(synapse: Synapse) -> Finding:
    """A worker, or a proxy that passes on only some paths, has no such route."""
    if await synapse.deactivate(NO_ONE, erase=False):
        return failed("deactivations", "an id without an account was found", "A bug of this program: report it.")
    return ok("deactivations", "the admin API answers")


async def _messages(synapse: Synapse, user: str) -> Finding:
    """Asks for the rooms of the admin: without this call no room is known whose messages a deletion could redact."""
    await synapse.rooms_of(user)
    return ok("messages", "Synapse lists a user's rooms, in which a deletion redacts messages")


def sample_image() -> bytes:
    """Returns a PNG of about 2 MB: noise, which does not compress."""
    row = b"\0" + os.urandom(3 * SIDE)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(row * SIDE, 0)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
