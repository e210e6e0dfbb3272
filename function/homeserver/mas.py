"""The calls on the admin API of Matrix Authentication Service (MAS) that this service needs, with typed results. Holds no policy
about users; requests.py says what a refused or failed call raises.

Bodies are JSON:API. A user's id is a ULID; the localpart of the Matrix id is the username.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from function.homeserver.mas_judgement import MAS, is_own, probe_failure
from function.homeserver.messages import Answer, Expected, Fields, Request
from function.homeserver.requests import IN_FLIGHT, Requests, TokenSource
from function.homeserver.transport import HttpClient, NoAnswerError
from function.operations import Operation
from function.outcomes import Reason, Rejected, TryAgain

API = "/api/admin/v1"
PAGE = 100  # sessions a page
# In this order: a browser session could start others while they are ended.
SESSIONS = ("user-sessions", "oauth2-sessions", "compat-sessions")
REFUSALS = 3  # of sessions of one user: the others are not tried
BOUND = timedelta(microseconds=1)  # MAS's filter leaves out the time itself

NOT_HERE = "no user of this MAS"

Probe = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class MasUser:
    """A user of MAS; `active` is False once it is deactivated."""

    id: str
    username: str
    active: bool


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """An access token of a personal session, which MAS shows once; it is in no text of this object."""

    session_id: str
    token: str

    def __repr__(self) -> str:
        return f"IssuedToken({self.session_id})"


def _resource(kind: str, *, absent: bool = False, others: frozenset[int] = frozenset()) -> Expected:
    def mark(fields: Fields) -> bool:
        data = fields.get("data")
        # A user without a name would be read as another user, and MAS as lacking the user.
        named = kind != "user" or isinstance(_attributes(fields).get("username"), str)
        return isinstance(data, dict) and data.get("type") == kind and isinstance(data.get("id"), str) and named

    return Expected(mark, absent, others)


def _list(*, absent: bool = False) -> Expected:
    def is_row(row: object) -> bool:
        return isinstance(row, dict) and isinstance(row.get("id"), str) and isinstance(row.get("attributes"), dict)

    def mark(fields: Fields) -> bool:
        rows = fields.get("data")
        return isinstance(rows, list) and all(map(is_row, rows))

    return Expected(mark, absent)


LIST = _list()
USER = _resource("user")


class Mas(Requests):
    """One Matrix Authentication Service.

    Args:
        http: sends requests to it.
        tokens: provides the token of its admin API.
        in_flight: limit of requests at the same time.
        healthy: checks whatever a request needs in order to succeed, if MAS alone is not enough: it asks Synapse in turn.
    """

    def __init__(
        self, http: HttpClient, tokens: TokenSource, in_flight: int = IN_FLIGHT, healthy: Probe | None = None
    ) -> None:
        super().__init__(http, tokens, MAS, in_flight)
        self._healthy: Probe = healthy or self.probe

    async def probe(self) -> str:
        """Checks that MAS takes the token and reads its database. Returns its address. Raises TryAgain."""
        await self._probed(f"{API}/users?page[first]=1&count=false", LIST)
        return self._http.base_url

    async def check_owner_of_token(self, localpart: str) -> None:
        """Checks that MAS has the owner of Synapse's token. Another MAS than the one to which Synapse delegates has not, and would
        have none of the users either: deletions would end them in Synapse alone. Raises TryAgain."""
        path = f"{API}/users/by-username/{quote(localpart, safe='')}"
        if (await self._probed(path, _resource("user", absent=True))).status == 404:
            raise TryAgain(Reason.MAS_UNEXPECTED, f"the token's owner is {NOT_HERE}")

    async def _probed(self, path: str, expected: Expected) -> Answer:
        try:
            answer = await self._with_token(Request(Operation.MAS_PROBE, "GET", path, None, expected))
        except NoAnswerError as failure:
            raise TryAgain(Reason.MAS_UNAVAILABLE, f"probe: {failure.what}") from None
        if not is_own(answer, expected):
            raise probe_failure(answer)
        return answer

    async def _check_healthy(self) -> None:
        """Also gets a new token: MAS writes it to its database, which the probe only reads."""
        async with self._in_flight:
            await self._tokens.renewed(await self._tokens.token())
        await self._healthy()

    async def user(self, localpart: str) -> MasUser | None:
        """Returns the user, None if there is none. `GET /users/by-username/{username}`, which ignores case."""
        path = f"{API}/users/by-username/{quote(localpart, safe='')}"
        answer = await self._call(Operation.MAS_USER, "GET", path, None, _resource("user", absent=True))
        user = None if answer.status == 404 else _user(answer.body)
        return user if user and user.username == localpart else None

    async def deactivate(self, user_id: str, *, erase: bool) -> bool:
        """Deactivates a user; False if there is none. MAS ends the sessions and tells Synapse in a job, which may be late or
        fail for good. Idempotent: each call queues a job. `POST /users/{id}/deactivate`."""
        path, body = f"{API}/users/{user_id}/deactivate", {"skip_erase": not erase}
        expected = Expected(lambda fields: USER.mark(fields) and not _user(fields).active, absent=True)
        return (await self._call(Operation.MAS_DEACTIVATE, "POST", path, body, expected)).status != 404

    async def create(self, localpart: str, name: str) -> MasUser | None:
        """Creates the user, here and in Synapse, unless there is one. Returns the user; None if only Synapse has the account,
        which can be adopted. `POST /users`."""
        body: dict[str, object] = {"username": localpart}
        if name:
            body["displayname"] = name
        return await self._create(localpart, body)

    async def adopt(self, localpart: str) -> MasUser:
        """Creates the user for an account that only Synapse has, and that keeps its name. Returns the user. `POST /users`.

        Raises:
            Rejected: MAS_REFUSED: there is another reason why the user can't be created.
        """
        user = await self._create(localpart, {"username": localpart, "skip_homeserver_check": True})
        if user is None:
            raise Rejected(Reason.MAS_REFUSED, "POST: 409")
        return user

    async def _create(self, localpart: str, body: dict[str, object]) -> MasUser | None:
        """Returns the user, new or not; None if the name is taken otherwise."""
        mine = _resource("user", others=frozenset({409}))
        answer = await self._call(Operation.MAS_CREATE, "POST", f"{API}/users", body, mine)
        if answer.status == 409:
            return await self.user(localpart)
        return MasUser("", localpart, active=True) if self._http.read_only else _user(answer.body)

    async def link(self, user_id: str, provider: str, subject: str) -> str | None:
        """Links the user with an identity at an upstream provider (a ULID). Returns None once it is linked, or the username of
        the other user who has the identity; "" if MAS does not tell. `POST /upstream-oauth-links`."""
        body: dict[str, object] = {"user_id": user_id, "provider_id": provider, "subject": subject}
        expected = _resource("upstream-oauth-link", others=frozenset({409}))
        answer = await self._call(Operation.MAS_LINK, "POST", f"{API}/upstream-oauth-links", body, expected)
        if answer.status != 409:
            return None
        owner = await self._link_owner(provider, subject)
        if owner == user_id:
            return None
        if not owner:
            return ""
        answer = await self._call(
            Operation.MAS_LINK, "GET", f"{API}/users/{owner}", None, _resource("user", absent=True)
        )
        return "" if answer.status == 404 else _user(answer.body).username

    async def linked(self, user_id: str, provider: str, subject: str) -> bool:
        """Returns whether the user has the identity at the provider. `GET /upstream-oauth-links`."""
        return await self._link_owner(provider, subject) == user_id

    async def _link_owner(self, provider: str, subject: str) -> str:
        """Returns the id of the user who has the identity, "" if none has, or if MAS has no such provider: the link itself is
        refused then, and nothing else."""
        query = f"filter[provider]={provider}&filter[subject]={quote(subject, safe='')}&page[first]=1&count=false"
        path, links = f"{API}/upstream-oauth-links?{query}", _list(absent=True)
        rows = (await self._call(Operation.MAS_LINK, "GET", path, None, links)).body.get("data", [])
        return next((str(row["attributes"].get("user_id") or "") for row in rows), "")

    async def has_provider(self, provider: str) -> bool:
        """Returns whether MAS has an upstream provider with this id. `GET /upstream-oauth-providers/{id}`."""
        path, there = f"{API}/upstream-oauth-providers/{provider}", _resource("upstream-oauth-provider", absent=True)
        return (await self._call(Operation.MAS_LINK, "GET", path, None, there)).status != 404

    async def end_sessions(self, user_id: str, began_by: datetime) -> bool:
        """Finishes every active browser, OAuth 2 and compat session that began by a time; later ones go on. False if there was
        none. `GET /{kind}`, `POST /{kind}/{id}/finish`. MAS tells Synapse in a job, at once as a rule.

        Raises:
            Rejected: MAS refuses to end one of them; the others have ended, unless it refused several.
        """
        refused: list[Rejected] = []
        try:
            ended = any([await self._end(kind, user_id, began_by, refused) for kind in SESSIONS])
        except Rejected as rejected:
            refused.append(rejected)
        except TryAgain as failure:
            if not refused or failure.reason is not Reason.TOO_SLOW:
                raise  # an outage; but refusals that take up the time would take it up again
        if refused:
            refused[0].in_doubt = any(one.in_doubt for one in refused)
            raise refused[0]
        return ended

    async def _end(self, kind: str, user_id: str, began_by: datetime, refused: list[Rejected]) -> bool:
        before = quote((began_by + BOUND).isoformat(), safe="")
        query = f"filter[user]={user_id}&filter[status]=active&filter[created-before]={before}"
        after, ended = "", False
        while True:
            path = f"{API}/{kind}?{query}&page[first]={PAGE}&count=false{after}"
            page = (await self._call(Operation.MAS_SESSIONS, "GET", path, None, LIST)).body
            rows = page["data"]
            for session in _ids(rows):
                path, finished = f"{API}/{kind}/{session}/finish", Expected(_finished(kind), True, frozenset({400}))
                try:
                    answer = await self._call(Operation.MAS_END_SESSION, "POST", path, None, finished)
                    ended = ended or answer.success  # 400: another client has finished it
                except Rejected as rejected:
                    refused.append(rejected)
                    if len(refused) == REFUSALS:
                        raise
            if not rows or not _has_next(page):  # not by the length: MAS may give fewer rows than it was asked for
                return ended
            after = f"&page[after]={rows[-1]['id']}"

    async def issue(self, user_id: str, name: str, scope: str, seconds: int) -> IssuedToken:
        """Makes a personal session for a user, with a token that is valid so long. Needs MAS 1.5. `POST /personal-sessions`."""
        body: dict[str, object] = {
            "actor_user_id": user_id, "human_name": name, "scope": scope, "expires_in": seconds
        }  # fmt: skip
        return await self._issued(f"{API}/personal-sessions", body)

    async def regenerate(self, session_id: str, seconds: int) -> IssuedToken:
        """Gives a personal session a new token; the earlier one ends. `POST /personal-sessions/{id}/regenerate`."""
        return await self._issued(f"{API}/personal-sessions/{session_id}/regenerate", {"expires_in": seconds})

    async def revoke(self, session_id: str) -> None:
        """Ends a personal session; no error if it has ended. `POST /personal-sessions/{id}/revoke`."""
        gone = _resource("personal-session", absent=True, others=frozenset({409}))
        path = f"{API}/personal-sessions/{session_id}/revoke"
        await self._call(Operation.MAS_PERSONAL_SESSION, "POST", path, None, gone)

    async def _issued(self, path: str, body: dict[str, object]) -> IssuedToken:
        expected = Expected(
            lambda fields: ISSUED.mark(fields) and isinstance(_attributes(fields).get("access_token"), str)
        )
        answer = await self._call(Operation.MAS_PERSONAL_SESSION, "POST", path, body, expected)
        return IssuedToken(answer.body["data"]["id"], _attributes(answer.body)["access_token"])


ISSUED = _resource("personal-session")


def _attributes(fields: Fields) -> Fields:
    data = fields.get("data")
    attributes = data.get("attributes") if isinstance(data, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def _user(fields: Fields) -> MasUser:
    found = _attributes(fields)
    return MasUser(fields["data"]["id"], str(found["username"]), active=found.get("deactivated_at") is None)


def _finished(kind: str) -> Callable[[Fields], bool]:
    return _resource(kind.removesuffix("s")).mark


def _has_next(page: Fields) -> bool:
    links = page.get("links")
    return isinstance(links, dict) and bool(links.get("next"))


def _ids(rows: list[Fields]) -> Iterator[str]:
    return (str(row["id"]) for row in rows)
