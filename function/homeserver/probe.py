"""Probes whether Synapse works for the admin account: reads, writes, and what an earlier request was refused for."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

from function.homeserver.judgement import check_own_account, is_own, probe_failure
from function.homeserver.messages import EMPTY, Answer, Body, Expected, Request, Upload, having, named
from function.operations import Operation
from function.outcomes import Reason, TryAgain

AUTH_METADATA = "/_matrix/client/v1/auth_metadata"
HOLD_SECONDS = 30.0  # between two tries of what a limit of the admin account refused

Send = Callable[[Request], Awaitable[Answer]]


@dataclass(slots=True)
class _Held:
    """A limit that a request reached and the admin's account does not show; `size`: of the refused upload in bytes."""

    reason: Reason
    detail: str
    size: int | None
    again_at: float


class AdminProbe:
    """Checks in four requests who owns the accounts, and that the admin account can do its work.

    Args:
        send: sends one request with the admin token; raises TryAgain if there is no answer.
        send_without_token: sends a request that needs no token.
        server_name: the homeserver that the account must belong to.
        read_only: leaves out what writes, for a dry run.
        owns_accounts: whether Synapse is to own the accounts; False: Matrix Authentication Service is.
    """

    def __init__(
        self, send: Send, send_without_token: Send, server_name: str, *, read_only: bool, owns_accounts: bool
    ) -> None:
        self._send, self._send_without_token = send, send_without_token
        self._server_name, self._read_only, self._owns_accounts = server_name, read_only, owns_accounts
        self._held: _Held | None = None

    def hold(self, failure: TryAgain, size: int | None) -> None:
        """Lets the probe fail, as a request did, until an upload of `size` bytes succeeds. Where the request was no upload
        and can't be tried for its own sake (None), until HOLD_SECONDS are over."""
        again_at = asyncio.get_running_loop().time() + HOLD_SECONDS
        self._held = _Held(failure.reason, failure.detail, size, again_at)

    async def check_owner(self) -> None:
        """Asks Synapse whether Matrix Authentication Service owns the accounts: where it does, what Synapse's own calls end
        comes back. `GET /_matrix/client/v1/auth_metadata`, which is there only then.

        Raises:
            TryAgain: the accounts' owner is not the configured one, or Synapse does not tell.
        """
        answer = await self._send_without_token(
            Request(Operation.PROBE, "GET", AUTH_METADATA, None, having("issuer", str))
        )
        delegated = is_own(answer, having("issuer", str))
        if not delegated and (answer.status != 404 or answer.errcode != "M_UNRECOGNIZED"):
            raise probe_failure(answer)
        if delegated and self._owns_accounts:
            raise TryAgain(Reason.MAS_NOT_CONFIGURED, "MATRIX_MAS_URL is not set")
        if not delegated and not self._owns_accounts:
            raise TryAgain(Reason.MAS_OFF, "MATRIX_MAS_URL is set")

    async def run(self) -> str:
        """Returns the Matrix id of the admin account. Raises TryAgain, which names the first check that failed."""
        me = (await self._ask("GET", "/_matrix/client/v3/account/whoami", having("user_id", str))).body
        user = str(me["user_id"])
        if user.partition(":")[2] != self._server_name:
            raise TryAgain(Reason.SERVER_NAME_MISMATCH, "the token's homeserver is not MATRIX_SERVER_NAME")
        own = quote(user, safe="")
        check_own_account((await self._ask("GET", f"/_synapse/admin/v2/users/{own}", named(user))).body)
        if self._read_only:
            return user
        data = f"/_matrix/client/v3/user/{own}/account_data/matrix-account-sync.probe"
        await self._ask("PUT", data, EMPTY, {"at": int(time.time())})
        if self._held:
            await self._try_again(self._held)
        return user

    async def _try_again(self, held: _Held) -> None:
        now = asyncio.get_running_loop().time()
        if now < held.again_at:
            raise TryAgain(held.reason, held.detail)
        held.again_at = now + HOLD_SECONDS
        if held.size is not None:
            await self._upload_and_delete(held.size)
        if self._held is held:  # no request was refused since
            self._held = None

    async def _upload_and_delete(self, size: int) -> None:
        body = Upload(bytes(size), "application/octet-stream")
        path = "/_matrix/media/v3/upload?filename=matrix-account-sync.probe"
        mxc = (await self._ask("POST", path, having("content_uri", str), body)).body["content_uri"]
        path = f"/_synapse/admin/v1/media/{mxc.removeprefix('mxc://')}"
        await self._ask("DELETE", path, having("deleted_media", absent=True))

    async def _ask(self, method: str, path: str, expected: Expected, body: Body = None) -> Answer:
        answer = await self._send(Request(Operation.PROBE, method, path, body, expected))
        if not is_own(answer, expected):
            raise probe_failure(answer)
        return answer
