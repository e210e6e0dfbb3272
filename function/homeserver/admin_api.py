"""The base of the calls on Synapse's APIs: probes whether Synapse works for the admin account."""

from function.homeserver.judgement import SYNAPSE
from function.homeserver.messages import Answer, Request
from function.homeserver.probe import AdminProbe
from function.homeserver.requests import IN_FLIGHT, Requests, TokenSource
from function.homeserver.transport import HttpClient, NoAnswerError
from function.outcomes import Reason, TryAgain


class AdminApi(Requests):
    """Calls one homeserver with an admin's token.

    Args:
        http: sends requests to the homeserver.
        tokens: provides the admin token.
        server_name: the part after the colon of the users' Matrix ids.
        in_flight: limit of requests at the same time.
    """

    owns_accounts = True  # False where Matrix Authentication Service does

    def __init__(self, http: HttpClient, tokens: TokenSource, server_name: str, in_flight: int = IN_FLIGHT) -> None:
        super().__init__(http, tokens, SYNAPSE, in_flight)
        self._server_name = server_name
        self._probe = AdminProbe(
            self._probed,
            self._ask_without_token,
            server_name,
            read_only=http.read_only,
            owns_accounts=self.owns_accounts,
        )

    async def probe(self) -> str:
        """Checks that Synapse owns the accounts, accepts the token, lets it read as an admin, and can write.

        `/health` says none of that (it stays 200 while the database is down), so a value in the admin's own account
        data is written. A dry run leaves that out.

        Returns:
            the Matrix id that the token belongs to.

        Raises:
            TryAgain: a check failed; it names the first one.
        """
        await self.check_owner()
        return await self._probe.run()

    async def check_owner(self) -> None:
        """Checks that the accounts' owner is the configured one. Needs no token. Raises TryAgain."""
        await self._probe.check_owner()

    async def _probed(self, request: Request) -> Answer:
        try:
            return await self._with_token(request)
        except NoAnswerError as failure:
            raise TryAgain(Reason.SYNAPSE_UNAVAILABLE, f"probe: {failure.what}") from None

    async def _ask_without_token(self, request: Request) -> Answer:
        try:
            return await self._send(request, "")
        except NoAnswerError as failure:
            raise TryAgain(Reason.SYNAPSE_UNAVAILABLE, f"probe: {failure.what}") from None

    def _judged(self, request: Request, verdict: Exception) -> None:
        if isinstance(verdict, TryAgain) and verdict.reason is Reason.ADMIN_LIMITED:
            self._probe.hold(verdict, request.upload_size)
