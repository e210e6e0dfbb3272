"""What other clients do to accounts: people who log in, and admins."""

from typing import Any

from dev.servers.mas_stand_in.state import Kind as SessionKind
from dev.servers.mas_stand_in.state import Link, User
from tests.simulation.chance import Chance
from tests.simulation.events import uuid_of
from tests.simulation.homeserver import Homeserver
from tests.simulation.mas import SimulatedMas
from tests.simulation.scenario import Action, Deed, Scenario

_CHANGES: dict[Deed, dict[str, Any]] = {
    Deed.DEACTIVATE: {"deactivated": True},
    Deed.REACTIVATE: {"deactivated": False, "erased": False},
    Deed.ERASE: {"deactivated": True, "erased": True, "displayname": None, "avatar_url": None},
    Deed.RENAME: {"displayname": "Renamed"},
}
REDACTION_LOOKS = 2  # that find a redaction still running
ALONE = 0.25  # of what is done to accounts under MAS is done in Synapse alone
_KINDS: tuple[SessionKind, ...] = ("compat", "compat", "oauth2", "user")


class Clients:
    """The clients of a Synapse that owns its accounts."""

    def __init__(self, scenario: Scenario, homeserver: Homeserver) -> None:
        self._scenario, self._homeserver = scenario, homeserver

    def begin(self) -> None:
        """Makes the accounts of the start."""
        for number, user in enumerate(self._scenario.users):
            if user.exists:
                self.log_in(number)

    def act(self, action: Action, number: int) -> bool:
        """Does what the action says; returns whether anything was changed. `number` makes names unique."""
        mxid = self._homeserver.mxid(uuid_of(action.user))
        account = self._homeserver.accounts.get(mxid)
        if action.deed is Deed.LOGIN and account is None and mxid not in self._homeserver.poisoned:
            self.log_in(action.user)
            return True
        if account is None or action.deed in {Deed.LOGIN, Deed.SYNC}:
            return False
        return self.change(action, mxid, account, number)

    def change(self, action: Action, mxid: str, account: dict[str, Any], number: int) -> bool:
        """Changes an account; returns whether it was otherwise before."""
        if action.deed is Deed.DEVICE:
            if not account["deactivated"]:
                self._homeserver.devices.setdefault(mxid, []).append(f"D{number}")
            return not account["deactivated"]
        change = _CHANGES[action.deed]
        if all(account[name] == value for name, value in change.items()):
            return False
        account.update(change)
        if action.deed in {Deed.DEACTIVATE, Deed.ERASE}:
            self._homeserver.leave_rooms(mxid)
        return True

    def log_in(self, user: int) -> None:
        mxid = self._homeserver.mxid(uuid_of(user))
        self._homeserver.add(mxid)
        self._homeserver.identities["oidc-nova", uuid_of(user)] = mxid
        self._settle_in(user, mxid)

    def _settle_in(self, user: int, mxid: str) -> None:
        """Joins rooms, and leaves messages and files there if they are to be removed."""
        if rooms := self._scenario.users[user].rooms:
            self._homeserver.rooms[mxid] = rooms
        if self._scenario.removes:
            self._homeserver.redaction_looks = REDACTION_LOOKS
            self._homeserver.say(mxid, 3)
            self._homeserver.add_upload(mxid, f"own{user}")


class MasClients(Clients):
    """The clients of a MAS. Accounts of which MAS does not know are changed in Synapse, and some others too: by an admin who
    should not.
    """

    def __init__(self, scenario: Scenario, homeserver: Homeserver, mas: SimulatedMas, chance: Chance) -> None:
        super().__init__(scenario, homeserver)
        self._mas, self._chance = mas, chance

    def begin(self) -> None:
        for number, user in enumerate(self._scenario.users):
            if user.exists and user.at_mas:
                self.log_in(number)
            elif user.exists:
                super().log_in(number)

    def act(self, action: Action, number: int) -> bool:
        user = self._mas.user(action.user)
        if action.deed is Deed.SYNC and user:
            self._mas.tell("POST", "/stand-in/jobs/provision", {"username": user.username})
            return False
        return super().act(action, number)

    def change(self, action: Action, mxid: str, account: dict[str, Any], number: int) -> bool:
        user = self._mas.user(action.user)
        alone = action.deed in _CHANGES and self._chance.of(82, number) < ALONE
        if user is None or action.deed is Deed.RENAME or alone:
            return super().change(action, mxid, account, number)
        ended = user.deactivated_at is not None
        if action.deed is Deed.REACTIVATE:
            if ended:
                user.deactivated_at = None
                if self._chance.of(83, number) >= ALONE:  # else as if MAS had told Synapse, and a late job undid it
                    account.update(_CHANGES[action.deed])
            return ended
        if action.deed is Deed.DEVICE:
            if not ended:
                self._begin_session(user, mxid, number)
            return not ended
        erase = action.deed is Deed.ERASE
        if ended and (not erase or account["erased"]):
            return False
        self._mas.tell("POST", f"/api/admin/v1/users/{user.id}/deactivate", {"skip_erase": not erase})
        return True

    def log_in(self, user: int) -> None:
        """Does what a first login does: a user with a link, an account, and a session."""
        state, mxid = self._mas.state, self._homeserver.mxid(uuid_of(user))
        if self._mas.user(user):
            return  # MAS is about to create the account
        made = User(state.new_id(), f"nova-{uuid_of(user)}", state.clock())
        state.users[made.id] = made
        link = Link(state.new_id(), self._mas.provider, uuid_of(user), state.clock(), made.id)
        state.links[link.id] = link
        self._homeserver.add(mxid)
        self._begin_session(made, mxid, user)
        self._settle_in(user, mxid)

    def _begin_session(self, user: User, mxid: str, number: int) -> None:
        """Begins a session of some kind; all but a browser's have a device."""
        kind = _KINDS[int(self._chance.of(81, number) * len(_KINDS))]
        device = "" if kind == "user" else f"D{number}-{len(self._mas.state.sessions)}"
        self._mas.state.begin(kind, user, device, self._mas.state.clock())
        if device:
            self._homeserver.devices.setdefault(mxid, []).append(device)
