"""Faults put back on purpose into what the code does where Matrix Authentication Service (MAS) owns the accounts."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from function.homeserver.account import Account
from function.homeserver.delegated import Delegated
from function.homeserver.mas import Mas, MasUser
from function.homeserver.synapse import Synapse, localpart
from function.outcomes import Rejected
from tests.simulation.mutation import Mutation


def _unfollowed(original: Any) -> Any:
    async def deactivate(self: Delegated, user_id: str, *, erase: bool) -> bool:
        user = await self.mas.user(localpart(user_id))
        if user is None:
            return bool(await original(self, user_id, erase=erase))
        await self.mas.deactivate(user.id, erase=erase)
        return True

    return deactivate


def _blind_to_mas(original: Any) -> Any:
    async def account(self: Delegated, *args: Any) -> Account | None:
        found: Account | None = await original(self, *args)
        known = found if found and found.exists else None
        return known and replace(known, mas_active=None if known.mas_active is None else not known.deactivated)

    return account


def _later_too(original: Any) -> Any:
    async def end(self: Mas, kind: str, user_id: str, began_by: datetime, refused: list[Rejected]) -> bool:
        return bool(await original(self, kind, user_id, began_by + timedelta(days=1), refused))

    return end


def _forgets_that_it_asked(original: Any) -> Any:
    async def create(self: Mas, *args: Any) -> MasUser | None:
        vars(self)["asked"] = False
        user: MasUser | None = await original(self, *args)
        return user

    return create


def _asked(original: Any) -> Any:
    async def user(self: Mas, name: str) -> MasUser | None:
        vars(self)["asked"] = True
        found: MasUser | None = await original(self, name)
        return found

    return user


def _new_users_only(original: Any) -> Any:
    async def link(self: Delegated, *args: Any) -> None:
        if not vars(self.mas).get("asked"):
            await original(self, *args)

    return link


MAS_MUTATIONS: Sequence[Mutation] = (
    Mutation(
        "M1-synapse-alone", "deletes in Synapse and not in MAS", [(Delegated, "deactivate", lambda _: Synapse.deactivate)],
        ("deletion_missed",), mas=True,
    ),
    Mutation(
        "M2-mas-alone", "deletes in MAS and does not see to Synapse", [(Delegated, "deactivate", _unfollowed)],
        ("deletion_missed",), mas=True,
    ),
    Mutation(
        "M3-half-is-known", "keeps an account that only one side has ended as known",
        [(Account, "half_ended", lambda _: property(lambda _: False))],
        ("written_long_after", "deletion_missed", "reactivated_kept"), mas=True,
    ),
    Mutation(
        "M4-all-sessions", "ends sessions that began after the password was changed", [(Mas, "_end", _later_too)],
        ("session_lost",), mas=True,
    ),
    Mutation(
        "M5-no-link", "leaves the link out if the answer to the creation was lost",
        [(Mas, "_create", _forgets_that_it_asked), (Mas, "user", _asked), (Delegated, "_link", _new_users_only)],
        ("not_linked",), mas=True,
    ),
    Mutation(
        "M6-synapse-sessions", "ends the sessions in Synapse alone",
        [(Delegated, "end_sessions", lambda _: Synapse.end_sessions)], ("session_left",), mas=True,
    ),
    Mutation(
        "M7-synapse-seen", "looks at Synapse alone", [(Delegated, "account", _blind_to_mas)],
        ("reactivated_kept", "deletion_missed", "written_long_after"), mas=True,
    ),
)  # fmt: skip
