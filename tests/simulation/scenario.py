"""What happens in one run, as data: events, faults and what other clients do. Removing any part leaves a valid scenario.

Times are seconds of virtual time since the start of the run, users and pods are numbers.
"""

from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any

from tests.simulation.events import Event

TAIL_SECONDS = 45.0  # in which the last requests are made that a fault can hit; longer than a claim


class Verb(StrEnum):
    """What a request to Synapse or MAS is for."""

    LOOK = "look"
    NAME = "name"
    AVATAR = "avatar"
    CREATE = "create"
    DEACTIVATE = "deactivate"
    DEVICES = "devices"
    ROOMS = "rooms"
    MEDIA = "media"
    TASKS = "tasks"
    REDACT = "redact"
    MAS_USER = "mas_user"
    MAS_DEACTIVATE = "mas_deactivate"
    MAS_CREATE = "mas_create"
    MAS_LINK = "mas_link"
    MAS_SESSIONS = "mas_sessions"
    TELL = "tell"  # what MAS tells Synapse
    PROBE = "probe"


class Hit(StrEnum):
    """What goes wrong with a request, an operation of the state store, or the publishing of a letter."""

    LATE = "late"  # no answer; carried out after `seconds`
    HANG = "hang"  # no answer, no effect
    SLOW = "slow"  # answered after `seconds`
    LOST = "lost"  # carried out; the answer is lost
    RESET = "reset"  # not carried out; the connection ends
    ERROR = "error"  # answered 500, not carried out
    ERROR_DONE = "error_done"  # answered 500, carried out
    LIMITED = "limited"  # answered 429, carried out
    PAGE = "page"  # a proxy answers with a page
    MAINTENANCE = "maintenance"  # something else at that address answers 200 with a JSON object
    HALF = "half"  # answered 500; of a creation, the account but not its identity
    UNAUTHORIZED = "unauthorized"  # answered 401, as while the token is renewed
    KILL_BEFORE = "kill_before"  # the pod dies before it sends
    KILL_SENT = "kill_sent"  # the pod dies once it has sent
    FREEZE_BEFORE = "freeze_before"  # the pod stops for `seconds` before it sends
    FREEZE_SENT = "freeze_sent"  # the pod stops for `seconds` once it has sent
    MOVE = "move"  # the user's partition moves to another pod, and the answer takes `seconds`


@dataclass(frozen=True, slots=True)
class RequestFault:
    """Hits the `nth` request (from 0) of a verb about a user, and the `times - 1` after it.

    With `doom`, the pod also dies before its next write to the state store: what it did is never confirmed.
    """

    user: int
    verb: Verb
    nth: int
    hit: Hit
    seconds: float = 0.0
    times: int = 1
    doom: bool = False


@dataclass(frozen=True, slots=True)
class StoreFault:
    """Hits the `nth` read or write of the pod in `slot`."""

    slot: int
    write: bool
    nth: int
    hit: Hit
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LetterFault:
    """Hits the `nth` publishing of a dead letter: RESET refuses it, LOST publishes it and loses the answer."""

    nth: int
    hit: Hit


@dataclass(frozen=True, slots=True)
class ResultFault:
    """Hits the `nth` publishing of evidence, as in a LetterFault; KILL_BEFORE and KILL_SENT kill the pod that publishes."""

    nth: int
    hit: Hit
    seconds: float = 0.0


class Part(StrEnum):
    SYNAPSE = "synapse"
    STORE = "store"
    LETTERS = "letters"  # both topics to which a pod publishes
    MAS = "mas"
    JOBS = "jobs"  # of MAS, by which it tells Synapse: HANG holds them, SLOW delays them, ERROR fails them for good


@dataclass(frozen=True, slots=True)
class Outage:
    """A part is down for a time; what is asked of it in that time fails with `hit`."""

    part: Part
    start: float
    seconds: float
    hit: Hit = Hit.RESET


class Blow(StrEnum):
    KILL = "kill"
    FREEZE = "freeze"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class PodFault:
    """Kills a pod (which restarts after `seconds`), freezes it for `seconds`, or moves the partitions."""

    when: float
    slot: int
    blow: Blow
    seconds: float = 0.0


class Deed(StrEnum):
    """What another client does to an account."""

    LOGIN = "login"
    DEVICE = "device"
    DEACTIVATE = "deactivate"
    REACTIVATE = "reactivate"
    ERASE = "erase"
    RENAME = "rename"
    SYNC = "sync"  # MAS tells Synapse which devices the user has


@dataclass(frozen=True, slots=True)
class Action:
    """What another client of Synapse or MAS does."""

    when: float
    user: int
    deed: Deed


@dataclass(frozen=True, slots=True)
class User:
    """A user at the start: whether the account exists, the number of rooms, and whether MAS knows of the account."""

    exists: bool = True
    rooms: int = 0
    at_mas: bool = True


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run. `latency` scales every delay; `limit` is MATRIX_MAX_DELETIONS_PER_HOUR; the clock of each pod is `skew`
    seconds ahead of that of the pod before; `mas`: MAS owns the accounts. With `evidence` each change of an account is published.
    """

    seed: int
    users: tuple[User, ...]
    pods: int = 2
    components: int = 1
    partitions: int = 2
    batch: int = 10
    latency: float = 1.0
    limit: int = 0
    skew: float = 0.0
    mas: bool = False
    events: tuple[Event, ...] = ()
    requests: tuple[RequestFault, ...] = ()
    stores: tuple[StoreFault, ...] = ()
    letters: tuple[LetterFault, ...] = ()
    outages: tuple[Outage, ...] = ()
    blows: tuple[PodFault, ...] = ()
    actions: tuple[Action, ...] = ()
    removes: bool = False  # MATRIX_ERASE_MESSAGES and MATRIX_ERASE_MEDIA
    replays: tuple[float, ...] = ()  # when an operator replays the dead letters so far
    evidence: bool = False
    results: tuple[ResultFault, ...] = ()

    @property
    def end(self) -> float:
        """When the last event, fault or action happens; later no request is hit any more."""
        whens = [part.when for parts in (self.events, self.blows, self.actions) for part in parts]
        last = max([0.0, *whens, *self.replays, *(out.start + out.seconds for out in self.outages)])
        longest = max([0.0, *(fault.seconds for faults in (self.requests, self.stores) for fault in faults)])
        return last + longest + TAIL_SECONDS

    def __str__(self) -> str:
        """Returns the scenario as Python, for a test."""
        lines = []
        for one in fields(self):
            value = getattr(self, one.name)
            if not isinstance(value, tuple):
                lines.append(f"    {one.name}={value!r},")
            elif value:
                lines += [f"    {one.name}=(", *(f"        {_as_python(part)}," for part in value), "    ),"]
        return "\n".join(["Scenario(", *lines, ")"])


def _as_python(part: Any) -> str:
    if not is_dataclass(part):
        return repr(part)
    given = [one for one in fields(part) if getattr(part, one.name) != one.default]
    values = {one.name: getattr(part, one.name) for one in given}
    words = [f"{name}={_word(value)}" for name, value in values.items()]
    return f"{type(part).__name__}({', '.join(words)})"


def _word(value: object) -> str:
    return f"{type(value).__name__}.{value.name}" if isinstance(value, StrEnum) else repr(value)
