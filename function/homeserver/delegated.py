"""A Synapse whose accounts belong to Matrix Authentication Service (MAS): accounts are ended, created and linked there, and
sessions end there. Names, avatars, media and rooms stay Synapse's.

What Synapse is told alone, MAS undoes: the person of an account that only Synapse has deactivated logs in again.
"""

import asyncio
from datetime import datetime
from typing import Self

from function.clock import Clock
from function.copies import replace
from function.homeserver.account import Account
from function.homeserver.mas import Mas, MasUser
from function.homeserver.requests import IN_FLIGHT, TokenSource
from function.homeserver.synapse import Synapse, deactivation, localpart
from function.homeserver.transport import HttpClient
from function.outcomes import Reason, Rejected, TryAgain

# Seconds between looks at Synapse after a call on MAS: MAS's job takes 0.1 to 0.2 s. 3.1 s in all.
LOOKS = (0.1, 0.2, 0.4, 0.8, 1.6)


class Delegated(Synapse):
    """One homeserver and the MAS that owns its accounts.

    Args:
        http: sends requests to Synapse.
        tokens: provides the admin token of Synapse.
        server_name: the part after the colon of the users' Matrix ids.
        mas_http: sends requests to MAS.
        mas_tokens: provides the token of MAS's admin API.
        in_flight: limit of requests at the same time, for each of the two.
    """

    owns_accounts = False

    def __init__(
        self, http: HttpClient, tokens: TokenSource, server_name: str, mas_http: HttpClient, mas_tokens: TokenSource,
        in_flight: int = IN_FLIGHT,
    ) -> None:  # fmt: skip
        super().__init__(http, tokens, server_name, in_flight)
        self._mas = Mas(mas_http, mas_tokens, in_flight, healthy=self.probe)

    @property
    def mas(self) -> Mas:
        """The MAS that owns the accounts."""
        return self._mas

    @property
    def unfinished(self) -> bool:
        return super().unfinished or self._mas.unfinished

    def before(self, deadline: datetime, clock: Clock) -> Self:
        limited = super().before(deadline, clock)
        limited._mas = self._mas.before(deadline, clock)  # noqa: SLF001 - a copy of this object
        return limited

    async def probe(self) -> str:
        """Checks that MAS owns the accounts and answers, then Synapse, as there, and that it is the MAS that Synapse delegates to."""
        await self.check_owner()
        await self._mas.probe()
        user = await self._probe.run()
        await self._mas.check_owner_of_token(user.removeprefix("@").partition(":")[0])
        return user

    async def check_owner(self) -> None:
        """Checks that the accounts are MAS's. If Synapse does not tell, MAS is asked: Synapse asks it in turn, and its own
        failure says more. Raises TryAgain."""
        try:
            await super().check_owner()
        except TryAgain as failure:
            if failure.reason is not Reason.MAS_OFF:
                await self._mas.probe()
            raise

    async def account(self, user_id: str, provider: str = "") -> Account | None:
        """Returns the account as both sides have it; `linked`: whether MAS has the user's identity at `provider`."""
        account, user = await asyncio.gather(super().account(user_id), self._mas.user(localpart(user_id)))
        if user is None:
            return account and replace(account, linked=False if provider else None)
        merged = replace(account or Account(exists=False), mas_active=user.active)
        if not provider:
            return merged
        return replace(merged, linked=await self._mas.linked(user.id, provider, user_id))

    async def deactivate(self, user_id: str, *, erase: bool) -> bool:
        """Deactivates the user in MAS and ensures that the account in Synapse follows; False if neither has it.

        MAS tells Synapse in a job, which can be late, or fail for good. So if Synapse does not follow within seconds, it is asked
        too, which does no harm. So it is if one of the two had ended the account before: then nothing shows that the job has
        been there, and only Synapse can end the devices of the logins since. A Synapse that is away does not hold MAS up;
        a Synapse that hangs does, for as long as one request may take.
        """
        known_open, user = await asyncio.gather(
            self._is_known_open(user_id, erase=erase), self._mas.user(localpart(user_id))
        )
        if user is None:
            return await super().deactivate(user_id, erase=erase)
        await self._mas.deactivate(user.id, erase=erase)
        fresh = user.active and known_open
        if self._http.read_only or (fresh and await self._follows(user_id, erase=erase)):
            return True
        await super().deactivate(user_id, erase=erase)
        return True

    async def _is_known_open(self, user_id: str, *, erase: bool) -> bool:
        """Returns whether Synapse tells that the account is yet to be ended; False if it does not tell."""
        try:
            return not deactivation(await super().account(user_id), erase=erase)
        except (TryAgain, Rejected):
            return False

    async def _follows(self, user_id: str, *, erase: bool) -> bool:
        """Returns whether Synapse has carried out MAS's deactivation within a few seconds."""
        for seconds in LOOKS:
            await asyncio.sleep(seconds)
            if deactivation(await super().account(user_id), erase=erase):
                return True
        return False

    async def create(self, user_id: str, name: str, provider: str) -> Account:
        """Creates the user in MAS, which creates the account in Synapse, and links the identity at `provider`, a ULID. Returns
        the account.

        Raises:
            Rejected: EXTERNAL_ID_TAKEN, with both accounts: the identity belongs to another one. The account was created.
                MAS_ERROR: MAS has the user, and Synapse no account.
        """
        user = await self._mas.create(localpart(user_id), name)
        if self._http.read_only:
            return Account(display_name=name, linked=True, mas_active=True)
        if user is None and (account := await super().account(user_id)) and account.deactivated:
            return account
        if user is None:
            user = await self._mas.adopt(localpart(user_id))
        if not user.active:
            return replace(await super().account(user_id) or Account(exists=False), mas_active=False)
        account = await self._created(user_id)
        if account.deactivated:  # in Synapse alone
            return replace(account, mas_active=True)
        if account.display_name != name:  # MAS before 1.18, or the account was there
            await self.set_display_name(user_id, name)
        await self._link(user, user_id, provider)
        return replace(account, display_name=name, linked=True, mas_active=True)

    async def _created(self, user_id: str) -> Account:
        """Returns Synapse's account. MAS makes it before it answers; only of a user who was there before it may be late."""
        account = await super().account(user_id)
        for seconds in () if account else LOOKS:
            await asyncio.sleep(seconds)
            if account := await super().account(user_id):
                break
        if account is None:
            raise Rejected(Reason.MAS_ERROR, "MAS has the user, Synapse has no account")
        return account

    async def link(self, user_id: str, provider: str) -> bool:
        """Links the user with the identity at `provider`, a ULID; creates the user in MAS if only Synapse has the account.
        False if neither has it.

        Raises:
            Rejected: EXTERNAL_ID_TAKEN, with both accounts: the identity belongs to another one.
        """
        user = await self._mas.user(localpart(user_id))
        if user is None:
            account = await super().account(user_id)
            if account is None or account.deactivated:
                return False
            user = await self._mas.adopt(localpart(user_id))
        await self._link(user, user_id, provider)
        return True

    async def _link(self, user: MasUser, user_id: str, provider: str) -> None:
        if (other := await self._mas.link(user.id, provider, user_id)) is not None:
            ids = f"{self.mxid(user_id)} {f'@{other}:{self._server_name}' if other else '-'}"
            raise Rejected(Reason.EXTERNAL_ID_TAKEN, "POST: 409", ids)

    async def end_sessions(self, user_id: str, began_by: datetime) -> bool:
        """Ends the sessions that began by a time, in MAS, which ends the devices in Synapse; later ones go on."""
        user = await self._mas.user(localpart(user_id))
        if user is None:
            return await super().end_sessions(user_id, began_by)
        return await self._mas.end_sessions(user.id, began_by)
