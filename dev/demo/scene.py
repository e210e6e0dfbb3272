"""Says what the demo plays where Synapse owns the accounts, prepares them, and describes them."""

from collections.abc import Iterable, Sequence
from operator import attrgetter

from dev.demo.playing import People
from dev.demo.script import PEOPLE, Person, Step, steps
from dev.demo.tables import Side, Visit
from dev.stack import Stack


class Scene:
    """The people, what is sent for them, and where to look afterwards.

    Args:
        stack: runs, with the function on it.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.people: People = PEOPLE

    def prepare(self) -> None:
        """Creates the accounts, and the rooms that they are members of."""
        for person in self.people.values():
            if person.has_account:
                self._create(person)
            for _ in range(person.rooms):
                self._join_new_room(person)

    def steps(self) -> Iterable[Step]:
        return steps()

    def sides(self) -> Sequence[Side]:
        return [Side("Synapse", self._in_synapse, attrgetter("final"))]

    def visits(self) -> Iterable[Visit]:
        """Returns what people meet after the events."""
        return ()

    def _create(self, person: Person) -> None:
        self._stack.synapse.create(person.mxid, "before")

    def _join_new_room(self, person: Person) -> None:
        admin = self._stack.synapse.admin
        room = admin("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"}).raise_for_status().json()
        admin("POST", f"/_synapse/admin/v1/join/{room['room_id']}", {"user_id": person.mxid}).raise_for_status()

    def _in_synapse(self, person: Person) -> str:
        """Describes a person's account."""
        account = self._stack.account(person.mxid)
        if account is None:
            return "no account"
        words = [account["displayname"] or "no name", "avatar" if account["avatar_url"] else "no avatar"]
        words += [word for word in ("deactivated", "erased") if account[word]]
        if person.rooms:
            rooms = self._stack.synapse.admin("GET", f"/_synapse/admin/v1/users/{person.mxid}/joined_rooms").json()
            words.append(f"in {rooms['total']} rooms")
        return ", ".join(words)
