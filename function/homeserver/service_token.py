"""Provides the admin token of Synapse where MAS owns the accounts: the one in the secret, or that of a personal session which this
service makes for its own user, renews before its end, and ends when it stops.

No token is logged, and none is stored: each process has a session of its own, which ends by itself within an hour if the process is
killed.
"""

import asyncio
import contextlib
import logging
import platform
import time
from collections.abc import Callable

from function.homeserver.client_credentials import Secret
from function.homeserver.mas import IssuedToken, Mas
from function.outcomes import Reason, Rejected, TryAgain
from function.settings import SECRET_KEY
from function.telemetry.logs import log
from function.telemetry.metrics import Metrics

SCOPE = "urn:matrix:client:api:* urn:synapse:admin:*"  # Synapse refuses a token without the first, and admin calls without the second
LIFE = 3600  # seconds
RENEW_AFTER = 2 * LIFE / 3
AGAIN_AFTER = 30.0  # seconds, after a renewal failed
REVOKE_SECONDS = 3.0


class PersonalSession:
    """The token of a personal session of the service's own user.

    Args:
        mas: makes the session; sends writes in a dry run too.
        localpart: the user's; "" if MATRIX_SERVICE_USER is not set.
        clock: monotonic seconds.
    """

    def __init__(self, mas: Mas, localpart: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._mas, self._localpart, self._clock = mas, localpart, clock
        self._lock = asyncio.Lock()
        self._issued: IssuedToken | None = None
        self._renew_at = self._ends_at = 0.0

    async def token(self) -> str:
        """Returns a valid token. Raises TryAgain."""
        if self._issued and self._clock() < self._renew_at:
            return self._issued.token
        async with self._lock:
            if not self._issued or self._clock() >= self._ends_at:
                return await self._make()
            if self._clock() >= self._renew_at:
                await self._renew(self._issued)
            return self._issued.token

    async def renewed(self, refused: str) -> str:
        """Gives the session a new token, unless another call already did since `refused` was in use; makes a new session if it
        has ended. Raises TryAgain."""
        async with self._lock:
            if self._issued and self._issued.token != refused:
                return self._issued.token
            if self._issued:  # each refusal must not leave a session behind
                with contextlib.suppress(Rejected):
                    return self._took(await self._mas.regenerate(self._issued.session_id, LIFE))
            return await self._make()

    async def end(self) -> None:
        """Ends the session, if MAS answers soon; it would end by itself."""
        issued, self._issued = self._issued, None
        if issued:
            with contextlib.suppress(TryAgain, Rejected, TimeoutError):
                async with asyncio.timeout(REVOKE_SECONDS):
                    await self._mas.revoke(issued.session_id)

    async def _make(self) -> str:
        if not self._localpart:
            raise TryAgain(
                Reason.MAS_TOKEN_REFUSED, f"the secret has no {SECRET_KEY}, and MATRIX_SERVICE_USER is not set"
            )
        name = f"matrix-account-sync on {platform.node()}"
        try:
            user = await self._mas.user(self._localpart)
            if user is None or not user.active:
                state = "is deactivated in MAS" if user else "is no user of MAS"
                raise TryAgain(Reason.MAS_TOKEN_REFUSED, f"MATRIX_SERVICE_USER {state}")
            return self._took(await self._mas.issue(user.id, name, SCOPE, LIFE))
        except Rejected as rejected:
            raise TryAgain(Reason.MAS_TOKEN_REFUSED, f"personal session: {rejected.detail}") from None

    async def _renew(self, issued: IssuedToken) -> None:
        """Renews the token; the present one is valid for some time, so a failure is no trouble yet."""
        try:
            self._took(await self._mas.regenerate(issued.session_id, LIFE))
        except (Rejected, TryAgain) as failure:
            log(logging.WARNING, "token_not_renewed", reason=failure.reason.value, detail=failure.detail)
            self._renew_at = self._clock() + AGAIN_AFTER

    def _took(self, issued: IssuedToken) -> str:
        self._issued = issued
        now = self._clock()
        self._renew_at, self._ends_at = now + RENEW_AFTER, now + LIFE
        return issued.token


class ServiceToken:
    """The admin token: MATRIX_ADMIN_TOKEN of the secret if it is there, else that of a personal session.

    Args:
        secret: may have the token.
        session: used if it has none.
        metrics: counts each read of the secret.
    """

    def __init__(self, secret: Secret, session: PersonalSession, metrics: Metrics) -> None:
        self._secret, self._session, self._metrics = secret, session, metrics
        self._given: str | None = None  # None: not read yet
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """Returns the token; reads the secret on the first call. Raises TryAgain."""
        if self._given is None:
            await self._read(None)
        return self._given or await self._session.token()

    async def renewed(self, refused: str) -> str:
        """Returns another token than the refused one, if there is one: the secret is read again first. Raises TryAgain."""
        await self._read(refused)
        return self._given or await self._session.renewed(refused)

    async def _read(self, refused: str | None) -> None:
        async with self._lock:
            if (self._given and self._given != refused) or (refused is None and self._given is not None):
                return
            try:
                given = (await self._secret.read()).get(SECRET_KEY, "").strip()
            except TryAgain:
                self._metrics.token_read("failed")
                raise
            if given:
                self._metrics.token_read("same" if given == self._given else "renewed")
            self._given = given
