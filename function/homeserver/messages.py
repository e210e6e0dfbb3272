"""Describes what is sent to Synapse and MAS, and what comes back. Pure but for httpx's timeouts."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from function.operations import Operation

SECONDS = 10.0
# A deactivation removes each device and rejects each invitation before it answers; an image may have 8 MiB. For each page of
# a list Synapse counts all of its rows.
LONGER = {
    Operation.DEACTIVATE: 40.0, Operation.ERASE: 40.0, Operation.UPLOAD: 30.0, Operation.PROBE: 5.0,
    Operation.ACCOUNTS: 300.0, Operation.UPLOADS: 300.0,
}  # fmt: skip
LISTS = frozenset({Operation.ACCOUNTS, Operation.UPLOADS})
CONNECT_SECONDS = 2.0
READING = "GET"  # any other method writes
_CODE = re.compile(r"[A-Z][A-Z0-9_.]{1,60}")

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that is not JSON."""

    content: bytes
    content_type: str


Body = dict[str, Any] | Upload | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer; `body` is {} and `is_object` False if it has no JSON object."""

    status: int
    body: dict[str, Any]
    is_object: bool = True

    @property
    def errcode(self) -> str:
        """Matrix's error code; "" if there is none, or if it does not look like one, since it is logged."""
        code = self.body.get("errcode")
        return code if isinstance(code, str) and _CODE.fullmatch(code) else ""

    @property
    def success(self) -> bool:
        return 200 <= self.status < 300

    def __str__(self) -> str:
        return f"{self.status} {self.errcode}".strip()


@dataclass(frozen=True, slots=True)
class Expected:
    """How an operation's own answer is told from another server's.

    `mark` is true of a success's fields. `absent`: a 404 of the server's own, such as `M_NOT_FOUND`, is an answer too: there is
    none. `others`: further statuses that are answers, with MAS's list of errors.
    """

    mark: Callable[[Fields], bool]
    absent: bool = False
    others: frozenset[int] = frozenset()


EMPTY = Expected(lambda fields: not fields)


def having(field: str, kind: type = object, *, absent: bool = False) -> Expected:
    """Expects a field of that type."""
    return Expected(lambda fields: field in fields and isinstance(fields[field], kind), absent)


def named(mxid: str, *, absent: bool = False) -> Expected:
    """Expects the account with that Matrix id."""
    return Expected(lambda fields: fields.get("name") == mxid, absent)


Look = Callable[[], Awaitable[Answer | None]]


@dataclass(slots=True)
class Request:
    """A request to Synapse or MAS.

    `path` is quoted. `look`, after a request that was not answered in time, is called instead of sending it again; it
    returns the answer that Synapse would have given, or None if the request is not done. `in_doubt`: an attempt to write
    may have been carried out, or may still be.
    """

    operation: Operation
    method: str
    path: str
    body: Body
    expected: Expected
    look: Look | None = None
    in_doubt: bool = False
    unfinished: bool = False  # an attempt to write had no answer of Synapse's own: it may still be carried out

    @property
    def writes(self) -> bool:
        return self.method != READING

    @property
    def timeout(self) -> httpx.Timeout:
        return httpx.Timeout(LONGER.get(self.operation, SECONDS), connect=CONNECT_SECONDS, pool=None)

    @property
    def upload_size(self) -> int | None:
        return len(self.body.content) if isinstance(self.body, Upload) else None

    def maybe_applied(self) -> None:
        """Remembers that an attempt may have been carried out."""
        self.in_doubt = self.in_doubt or self.writes

    def maybe_running(self) -> None:
        """Remembers that an attempt may have been carried out, or may be later."""
        self.maybe_applied()
        self.unfinished = self.in_doubt
