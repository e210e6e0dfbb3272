"""Says what every account must be at the end, from docs/how-it-works.md and from the promises; knows nothing of the code.

What is owed after another client acted is said in `_Owed`: only what the pages promise, so a complaint is always a fault.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from function.outcomes import Outcome
from tests.simulation.events import BAD_AVATAR, DELETIONS, FACES, Kind, uuid_of
from tests.simulation.kafka import Entry
from tests.simulation.scenario import Deed
from tests.simulation.world import Applied, World

KNOWN_FOR = 600.0  # an account that was looked at is trusted for so long
SLACK = 160.0  # of a delivery, and of a request that Synapse carries out late


@dataclass(frozen=True, slots=True)
class Complaint:
    """A rule that was broken. `rule` and `user` identify it while a scenario is shrunk; `says` is for people."""

    rule: str
    user: int
    says: str


def account_complaints(world: World) -> Iterator[Complaint]:
    """Yields what is wrong with the accounts after the run."""
    for user in range(len(world.scenario.users)):
        yield from _Owed(world, user).complaints()


class _Owed:
    """What is owed to one user."""

    def __init__(self, world: World, user: int) -> None:
        self.user, self._world = user, world
        self.homeserver = world.homeserver
        self.mxid = self.homeserver.mxid(uuid_of(user))
        self.account: dict[str, Any] | None = self.homeserver.accounts.get(self.mxid)
        self.mas = world.mas
        self.at_mas = self.mas.user(user) if self.mas else None
        self.active_at_mas = self.at_mas is not None and self.at_mas.deactivated_at is None
        self.account_was_unknown = not world.scenario.users[user].at_mas  # to MAS
        self.entries = [e for e in world.kafka.entries if e.event.user == user and e.event.kind not in _NOT_OURS]
        self.actions = [one for one in world.applied if one.action.user == user]

    def complaints(self) -> Iterator[Complaint]:
        deletions = [entry for entry in self.entries if entry.event.kind in DELETIONS]
        if self.account is None:
            yield from self._without_account(deletions)
        elif deletions:
            yield from self._deleted(deletions)
        else:
            yield from self._active(self.account)

    def _without_account(self, deletions: list[Entry]) -> Iterator[Complaint]:
        if self.mxid in self.homeserver.poisoned:
            yield self._says("poisoned", "a profile was written for an account that does not exist")
        if not deletions and any(entry.event.kind is Kind.CREATED for entry in self.entries):
            yield self._says("not_created", "the user was created and has no account")
        if deletions and self.active_at_mas:
            yield self._says("deletion_missed", "the user was deleted, has no account, and is active in MAS")

    def _deleted(self, deletions: list[Entry]) -> Iterator[Complaint]:
        """A deletion is terminal. After another client activated the account, it is owed again from the next deletion on
        (not from a redelivery of a deletion that was carried out), and from the next event at which the account is looked at."""
        assert self.account
        up = self._last(Deed.REACTIVATE, Deed.LOGIN)
        again = any(self._carried_out(entry.event.says) > up for entry in deletions)
        others = [entry for entry in self.entries if entry.event.kind not in DELETIONS]
        later = any(entry.produced > up + KNOWN_FOR for entry in others)
        if not (again or later):
            return
        rule = "deletion_missed" if again else "reactivated_kept"
        hard = any(entry.event.kind is Kind.HARD for entry in deletions)
        if not self.account["deactivated"]:
            yield self._says(rule, "the user was deleted and the account is active")
            return
        if self.active_at_mas:
            yield self._says(rule, "the user was deleted and is active in MAS")
            return
        if self.homeserver.rooms.get(self.mxid, 0):
            yield self._says("still_in_rooms", f"deleted, and still in {self.homeserver.rooms[self.mxid]} rooms")
        if hard and not self.account["erased"]:
            yield self._says(rule, "the deletion was hard and the account is not erased")
        elif not hard and self.account["erased"] and self._last(Deed.ERASE) < 0:
            yield self._says("erased_wrongly", "the deletion was soft and the account is erased")
        if hard and self._world.scenario.removes:
            yield from self._left_behind()
        if hard and not self._since(Deed.RENAME, min(entry.produced for entry in deletions)):
            left = [name for name in ("displayname", "avatar_url") if self.account[name]]
            if left:
                yield self._says("written_after_erasure", f"erased, and has {' and '.join(left)} again")

    def _left_behind(self) -> Iterator[Complaint]:
        """Yields what the user wrote or uploaded and can still be read."""
        if readable := self.homeserver.readable(self.mxid):
            yield self._says("messages_left", f"the deletion was hard and {readable} messages can be read")
        if any(self.homeserver.uploads[mxc]["user_id"] == self.mxid for mxc in self.homeserver.media):
            yield self._says("media_left", "the deletion was hard and own files still exist")

    def _carried_out(self, says: tuple[object, ...]) -> float:
        """Returns when a deletion was first carried out: a call since it was produced, or the begin of a delivery that said so."""
        same = [entry for entry in self.entries if entry.event.says == says]
        begun = [
            self._world.kafka.deliveries[call].begun
            for entry in same
            for call, _, one, _ in entry.results
            if one.outcome not in {Outcome.RETRY, Outcome.DEAD_LETTER}
        ]
        produced = min(entry.produced for entry in same)
        calls = [when for user, when in self.homeserver.deactivations if user == self.user and when >= produced]
        return min([*begun, *calls], default=produced)

    def _active(self, account: dict[str, Any]) -> Iterator[Complaint]:
        if any(user == self.user for user, _ in self.homeserver.deactivations):
            yield self._says("deactivated_wrongly", "the user was not deleted and we deactivated the account")
        ended, up = self._last(Deed.DEACTIVATE, Deed.ERASE), self._last(Deed.REACTIVATE)
        gone = account["deactivated"] or account["erased"] or (self.at_mas and not self.active_at_mas)
        if ended > up and not gone:
            yield self._says("reactivated_by_us", "another client deactivated the account and it is active")
        if ended > up or gone:
            return
        yield from self._linked()
        yield from self._profile(account)

    def _linked(self) -> Iterator[Complaint]:
        seen = 0.0
        if self.mas and self.account_was_unknown:  # until then the account may be known as deactivated
            seen = self._last(Deed.REACTIVATE) + KNOWN_FOR
        created = any(entry.event.kind is Kind.CREATED and entry.produced > seen for entry in self.entries)
        if created and self.mas:
            if not self.at_mas:
                yield self._says("not_created", "the user was created and MAS does not have it")
            elif not self.mas.is_linked(self.user):
                yield self._says("not_linked", "the user was created and MAS has no link")
        elif created and self.homeserver.identities.get(("oidc-nova", uuid_of(self.user))) != self.mxid:
            yield self._says("not_linked", "the user was created and the account lacks the identity")

    def _profile(self, account: dict[str, Any]) -> Iterator[Complaint]:
        profiles = [entry for entry in self.entries if entry.event.kind is Kind.PROFILE]
        if not profiles:
            return
        newest = max(profiles, key=lambda entry: entry.event.at)
        if self._owed(newest, profiles, "name", Deed.RENAME) and (account["displayname"] or "") != newest.event.name:
            yield self._says("wrong_name", f"{account['displayname']!r} instead of {newest.event.name!r}")
        usable = [entry for entry in profiles if entry.event.avatar != BAD_AVATAR]
        if not usable:
            return
        shown = max(usable, key=lambda entry: entry.event.at)
        if self._owed(shown, usable, "avatar") and not self._shows(account["avatar_url"] or "", shown.event.avatar):
            yield self._says("wrong_avatar", f"{account['avatar_url']!r} instead of {shown.event.avatar!r}")

    def _owed(self, newest: Entry, profiles: list[Entry], field: str, *deeds: Deed) -> bool:
        """Whether the newest value must stand: no other client changed it, or this event is newer than that, changes
        something, and comes after a look at the account is due."""
        value = getattr(newest.event, field)
        if any(one.event.at == newest.event.at and getattr(one.event, field) != value for one in profiles):
            return False  # of two profiles of one moment either may stand
        touched = self._last(*deeds, Deed.ERASE)
        looked = max(self._last(Deed.REACTIVATE) + KNOWN_FOR, self._last(Deed.LOGIN))
        if max(touched, self._last(Deed.REACTIVATE), self._last(Deed.LOGIN)) < 0:
            return True
        others = [entry for entry in profiles if entry.event.says != newest.event.says]
        if field == "name":  # an account is created with its username as the name
            others += [entry for entry in self.entries if entry.event.kind is Kind.CREATED]
        changes = all(getattr(entry.event, field) != value for entry in others)
        return changes and newest.produced > max(touched, looked)

    def _shows(self, address: str, wanted: str) -> bool:
        if not wanted.startswith("https://"):
            return address == wanted
        return self.homeserver.media.get(address) == FACES[wanted]

    def _last(self, *deeds: Deed) -> float:
        """Returns when another client last did one of `deeds`; far before the start if it never did."""
        return max((one.when for one in self.actions if one.action.deed in deeds), default=-1e9)

    def _since(self, deed: Deed, when: float) -> list[Applied]:
        return [one for one in self.actions if one.action.deed is deed and one.when >= when]

    def _says(self, rule: str, says: str) -> Complaint:
        return Complaint(rule, self.user, says)


_NOT_OURS = (Kind.BROKEN, Kind.OTHER)
