"""Holds the users, sessions, links and tokens of one stand-in, in memory. Knows no HTTP and no homeserver."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from dev.servers.mas_stand_in.identifiers import ulid

Kind = Literal["compat", "oauth2", "user"]
CLIENT_API = "urn:matrix:client:api:*"
MAS_ADMIN = "urn:mas:admin"
SYNAPSE_ADMIN = "urn:synapse:admin:*"


@dataclass(frozen=True)
class Config:
    """What a deployment sets.

    Args:
        issuer: the stand-in's own address.
        homeserver: Synapse's address.
        secret: shared with Synapse's block `matrix_authentication_service`.
        client_id: of the one OAuth 2 client, a ULID; it may have `urn:mas:admin`.
        token_seconds: how long a token from the client credentials grant lives.
        file: keeps the state from a stop to the next start; none if empty.
    """

    issuer: str
    homeserver: str
    secret: str
    client_id: str
    client_secret: str
    server_name: str
    token_seconds: int = 300
    file: str = ""


@dataclass
class User:
    id: str
    username: str
    created_at: datetime
    locked_at: datetime | None = None
    deactivated_at: datetime | None = None
    password: str = ""

    @property
    def valid(self) -> bool:
        return self.locked_at is None and self.deactivated_at is None


@dataclass
class Session:
    """A browser session (`user`), an OAuth 2 session, or a compatibility session of a client that logs in by Matrix."""

    id: str
    kind: Kind
    user_id: str
    created_at: datetime
    device_id: str = ""
    finished_at: datetime | None = None

    @property
    def scope(self) -> str:
        return f"{CLIENT_API} urn:matrix:client:device:{self.device_id}" if self.kind == "oauth2" else CLIENT_API


@dataclass
class Personal:
    """A personal session: an access token of its own that acts for a user, without a device."""

    id: str
    actor_user_id: str
    human_name: str
    scope: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass
class Provider:
    id: str
    human_name: str
    created_at: datetime


@dataclass
class Link:
    """An account at an upstream provider; of no user if `user_id` is None."""

    id: str
    provider_id: str
    subject: str
    created_at: datetime
    user_id: str | None = None
    human_account_name: str | None = None


@dataclass
class Token:
    """An access token. `session_id` is empty for the client's own token."""

    scope: str
    session_id: str = ""
    expires_at: datetime | None = None
    ended: bool = False


def utc_now() -> datetime:
    return datetime.now(UTC)


def random_bits(count: int) -> int:
    return secrets.randbits(count)


@dataclass
class State:
    """Everything that one stand-in knows.

    Args:
        clock: tells the time.
        bits: makes that many random bits, for identifiers and tokens.
    """

    clock: Callable[[], datetime] = utc_now
    bits: Callable[[int], int] = random_bits
    users: dict[str, User] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    personal: dict[str, Personal] = field(default_factory=dict)
    providers: dict[str, Provider] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)

    def by_username(self, username: str) -> User | None:
        """Looks a user up; upper and lower case are the same."""
        return next((one for one in self.users.values() if one.username.lower() == username.lower()), None)

    def begin(self, kind: Kind, user: User, device_id: str, at: datetime) -> tuple[Session, str]:
        """Begins a session; returns it and its access token. A browser session has a cookie, which is not modelled."""
        session = Session(self.new_id(at), kind, user.id, at, device_id)
        self.sessions[session.id] = session
        return session, "" if kind == "user" else self.issue("mct" if kind == "compat" else "mat", session)

    def issue(self, prefix: str, session: Session | Personal, expires_in: int | None = None) -> str:
        """Issues an access token for the session."""
        made = self.new_token(prefix)
        self.tokens[made] = Token(session.scope, session.id, self.later(expires_in))
        return made

    def alive(self, token: Token) -> bool:
        return not token.ended and (token.expires_at is None or self.clock() < token.expires_at)

    def end_tokens(self, session_id: str) -> None:
        for one in self.tokens.values():
            one.ended = one.ended or one.session_id == session_id

    def finish(self, session: Session | Personal) -> None:
        if isinstance(session, Personal):
            session.revoked_at, session.expires_at = self.clock(), None
        else:
            session.finished_at = self.clock()
        self.end_tokens(session.id)

    def active(self, user_id: str) -> list[Session | Personal]:
        """Returns all sessions of the user that have not ended, personal ones too."""
        sessions = [one for one in self.sessions.values() if one.user_id == user_id and one.finished_at is None]
        mine = [one for one in self.personal.values() if one.actor_user_id == user_id and one.revoked_at is None]
        return [*sessions, *mine]

    def devices(self, user_id: str) -> list[str]:
        """Returns the devices that the user's active sessions have."""
        return [one.device_id for one in self.active(user_id) if isinstance(one, Session) and one.device_id]

    def later(self, seconds: int | None) -> datetime | None:
        return None if seconds is None else self.clock() + timedelta(seconds=seconds)

    def new_id(self, at: datetime | None = None) -> str:
        return ulid(at or self.clock(), self.bits)

    def new_token(self, prefix: str) -> str:
        """Returns a new token: `mat` for OAuth 2, `mct` for a compatibility session, `mpt` for a personal session."""
        return f"{prefix}_{self.bits(192):048x}"

    def new_device(self) -> str:
        return f"{self.bits(40):010X}"
