"""`check`: is everything there that the function needs? Changes nothing but a probe key and the admin's own probe data."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from function.app import OpenParts, Parts, open_parts
from function.health import Health
from function.outcomes import Reason, TryAgain
from function.settings import SECRET_KEY, Settings
from function.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table. `advice` says what to do where `ok` is false."""

    what: str
    ok: bool
    found: str
    advice: str = ""


async def findings(settings: Settings, parts: OpenParts = open_parts) -> AsyncIterator[Finding]:
    """Everything that is looked at, in the order in which the function needs it."""
    yield Finding("settings", True, "valid" if settings.enabled else "valid; consuming is switched off")
    try:
        async with parts(settings, Health(), Metrics()) as opened:
            yield Finding("sidecar", True, "answers")
            async for finding in _through(settings, opened):
                yield finding
    except TryAgain as failure:
        yield _failed("sidecar", failure)


async def _through(settings: Settings, parts: Parts) -> AsyncIterator[Finding]:
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
    yield Finding("token and Synapse", True, "valid, an admin's, of this server; Synapse reads and writes")
    expected = settings.matrix_service_user
    if expected:
        same = user == expected
        yield Finding("service user", same, "owns the token" if same else "does not own the token",
                      "set MATRIX_SERVICE_USER to the account that the token was made for")  # fmt: skip
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
