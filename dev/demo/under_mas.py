"""Says what the demo adds where MAS owns the accounts: people log in before and after the events."""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter

import httpx

from dev.demo.scene import Scene
from dev.demo.script import PEOPLE, Person, Step, steps
from dev.demo.tables import Side, Visit
from dev.identity_events import PASSWORD_CHANGED, encode, headers, new_user, password_changed_payload
from dev.mas_stack import MasStack

KINDS = ("compat", "oauth2", "user")
DELETED = {"bob": "soft", "carol": "hard"}


class MasScene(Scene):
    """The people of every demo, of whom two log in and are deleted then, and one with sessions from before and after a
    change of the password.

    Args:
        stack: runs, with the function on it.
    """

    def __init__(self, stack: MasStack) -> None:
        super().__init__(stack)
        self._mas = stack.mas
        self.people = PEOPLE | {"ivan": Person("ivan", "before, no avatar", "active, 1 session")}
        self._password = secrets.token_hex(16)
        self._earlier: dict[str, str] = {}
        self._client = self._later = self._changed_at = ""

    def prepare(self) -> None:
        super().prepare()
        self._earlier = {who: self._log_in(who) for who in (*DELETED, "ivan")}
        ivan = {"username": self.people["ivan"].localpart}
        self._client = self._mas.control("POST", "sessions", ivan | {"kind": "oauth2"})["access_token"]
        self._mas.control("POST", "sessions", ivan | {"kind": "user"})
        self._changed_at = datetime.now(UTC).isoformat()
        self._later = self._log_in("ivan")

    def steps(self) -> Iterator[Step]:
        yield from steps()
        payload = password_changed_payload(self.people["ivan"].id, self._changed_at)
        record = (encode(payload), headers(PASSWORD_CHANGED, new_user()))
        yield Step("ivan", "password changed; 3 sessions are older", "headers", "applied", *record)
        yield Step("ivan", "the same record again", "headers", "unchanged", *record)

    def sides(self) -> Sequence[Side]:
        return [*super().sides(), Side("MAS (stand-in)", self._in_mas, attrgetter("in_mas"))]

    def visits(self) -> Iterable[Visit]:
        for who, deletion in DELETED.items():
            yield self._session(who, f"a session from before the {deletion} deletion", self._earlier[who], "ended")
            yield self._new_login(who, "refused: 403 M_FORBIDDEN")
        yield self._session("ivan", "a login from before the password's change", self._earlier["ivan"], "ended")
        yield self._session("ivan", "an OAuth 2 session from before the change", self._client, "ended")
        yield self._session("ivan", "a login from after the change", self._later, "goes on")
        yield self._new_login("ivan", "logged in")

    def _session(self, who: str, what: str, token: str, expected: str) -> Visit:
        return Visit(who, what, expected, partial(self._tried, token))

    def _new_login(self, who: str, expected: str) -> Visit:
        return Visit(who, "a new login, by password", expected, partial(self._tried_login, who))

    def _create(self, person: Person) -> None:
        self._stack.synapse.create(person.mxid, "before", self._password)

    def _log_in(self, who: str) -> str:
        token = self._stack.synapse.login(self.people[who].localpart, self._password)
        self._whoami(token).raise_for_status()
        return token

    def _tried(self, token: str) -> str:
        """Describes what Synapse answers to a session."""
        status = self._whoami(token).status_code
        return {200: "goes on", 401: "ended"}.get(status, f"HTTP {status}")

    def _whoami(self, token: str) -> httpx.Response:
        return self._stack.synapse.admin("GET", "/_matrix/client/v3/account/whoami", token=token)

    def _tried_login(self, who: str) -> str:
        """Describes what MAS answers to a login by password."""
        answer = self._mas.login(self.people[who].localpart, self._password)
        return "logged in" if answer.is_success else f"refused: {answer.status_code} {answer.json().get('errcode')}"

    def _in_mas(self, person: Person) -> str:
        """Describes a person's user: whether it is active, its upstream link, its active sessions of every kind."""
        with self._mas.admin_client() as admin:
            found = admin.get(f"users/by-username/{person.localpart}")
            if found.status_code == 404:
                return "no user"
            user = found.raise_for_status().json()["data"]
            mine = f"filter[user]={user['id']}"
            links = _count(admin, f"upstream-oauth-links?{mine}")
            sessions = sum(_count(admin, f"{kind}-sessions?{mine}&filter[status]=active") for kind in KINDS)
        words = ["deactivated" if user["attributes"]["deactivated_at"] else "active", *(["linked"] if links else [])]
        return ", ".join([*words, f"{sessions or 'no'} session{'s' if sessions > 1 else ''}"])


def _count(admin: httpx.Client, path: str) -> int:
    return len(admin.get(path).raise_for_status().json()["data"])
