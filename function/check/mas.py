"""Checks Matrix Authentication Service (MAS) where it owns the accounts: its client, its admin API and its upstream provider. Changes
no user."""

from function.check.finding import Finding, failed, ok
from function.homeserver.delegated import Delegated
from function.homeserver.mas import NOT_HERE
from function.outcomes import Rejected, TryAgain
from function.settings import MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY, SECRET_KEY, Settings

MAS = "MAS"
PROVIDER = "upstream provider"
TOKEN_OWNER = "owner of the token"  # noqa: S105 - no token
DEACTIVATIONS = "deactivations in MAS"
NO_ULID = "0" * 26  # which no user has
# By what a failure's detail says; otherwise the reason's own advice fits.
_ADVICE = {
    NOT_HERE: "Set MATRIX_MAS_URL to the MAS to which Synapse delegates: a deletion would end users of another one in Synapse alone.",
    "invalid_client": f"{MAS_CLIENT_ID_KEY} and {MAS_CLIENT_SECRET_KEY} of the secret must be those of an entry of MAS's `clients`",
    "invalid_scope": "Add the client's id to `policy.data.admin_clients` in MAS's configuration.",
    "token: 404": "MATRIX_MAS_URL must reach a listener of MAS with the resources `oauth` and `adminapi`",
    "is no user of MAS": "Create the service user in MAS, or correct MATRIX_SERVICE_USER: docs/mas.md, Service user.",
    "is deactivated in MAS": "Reactivate the service user in MAS, or set MATRIX_SERVICE_USER to another one.",
    "MATRIX_SERVICE_USER is not set": f"Set MATRIX_SERVICE_USER, or put {SECRET_KEY} into the secret.",
    "personal session: POST: 404": f"MAS before 1.5 has no personal sessions: put {SECRET_KEY} into the secret.",
}  # fmt: skip


def owner(settings: Settings) -> str:
    """Returns the configured owner of the accounts in words."""
    url = settings.matrix_mas_url
    return f"owned by MAS at {url.scheme}://{url.host}:{url.port}" if url else "owned by Synapse"


def keys(settings: Settings) -> tuple[str, ...]:
    """Returns the keys that the secret must have."""
    return (MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY) if settings.matrix_mas_url else (SECRET_KEY,)


def advice(failure: TryAgain | Rejected) -> str:
    """Returns better advice than the reason's own, "" if there is none."""
    return next((text for part, text in _ADVICE.items() if part in failure.detail), "")


async def client_rows(synapse: Delegated) -> list[Finding]:
    """Tries the client, its token and the admin API. Raises TryAgain."""
    await synapse.mas.probe()
    return [ok(MAS, "takes the client of the secret; its admin API answers")]


async def provider_row(settings: Settings, synapse: Delegated) -> Finding:
    """Looks for the provider that accounts are linked with: without it creations fail."""
    if await synapse.mas.has_provider(settings.provider):
        return ok(PROVIDER, "MAS has the one of MATRIX_MAS_PROVIDER")
    return failed(
        PROVIDER, "MAS has none with the id of MATRIX_MAS_PROVIDER",
        "Set MATRIX_MAS_PROVIDER to the `id` of the identity service in MAS's `upstream_oauth2.providers`.",
    )  # fmt: skip


async def deactivation_row(synapse: Delegated) -> Finding:
    """Asks MAS to deactivate a user that it can't have: a proxy may let only some paths through."""
    if await synapse.mas.deactivate(NO_ULID, erase=False):
        return failed(DEACTIVATIONS, "an id without a user was found", "A bug of this program: report it.")
    return ok(DEACTIVATIONS, "the admin API answers")
