"""Makes seeded workloads: the events, and the accounts before them. Pure.

The kinds are W1 noise, W2 changes, W3 hot, W4 deletions and W5 faults. For a slow system a workload is made with fewer
events of the same distribution.
"""

import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from dev.identity_events import DELETED, PROFILE_UPDATED, START, deleted_payload, encode, headers, profile_payload

SIZE = 1024  # bytes of a profile's payload, about as large as the producer's
UNKNOWN = 0.01  # share of W2's users without a Matrix account
POISON = 0.01  # share of W5's events that can't be decoded


class Kind(StrEnum):
    PROFILE = "profile"
    SOFT = "soft deletion"
    HARD = "hard deletion"
    POISON = "poison"


@dataclass(frozen=True, slots=True)
class State:
    """A Matrix account; the name and the avatar are "" when unset."""

    name: str = ""
    avatar: str = ""
    deactivated: bool = False
    erased: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """A record for the topic, and the change that it asks for. `partition` is set for the records that mark the end."""

    user_id: str
    kind: Kind
    value: bytes
    headers: Mapping[str, bytes]
    name: str = ""
    avatar: str = ""
    partition: int | None = None

    @property
    def id(self) -> str:
        return self.headers["event_id"].decode()


@dataclass(frozen=True)
class Workload:
    """Events in order, the accounts before them, and the last event of each partition.

    `primer` is sent first and not measured: it makes every user known to a system that keeps state. `waits`: all events are
    in the topic before the system starts to consume; otherwise they are sent while it runs.
    """

    name: str
    events: Sequence[Event]
    accounts: Mapping[str, State]
    ends: Sequence[Event] = ()
    primer: Sequence[Event] = ()
    waits: bool = True

    @property
    def everything(self) -> Sequence[Event]:
        return [*self.events, *self.ends]


class Maker:
    """Makes events from one seed; each is newer than the previous."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._made = 0

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def account(self) -> State:
        return State(f"Ada {self.random.getrandbits(32):08x}", self.avatar())

    def avatar(self) -> str:
        return f"mxc://staging.nova.app/{self.random.getrandbits(64):016x}"

    def profile(self, user_id: str, state: State) -> Event:
        """Makes a bare payload typed by headers, as the producer sends it, padded to SIZE by its biography."""
        body = profile_payload(
            user_id, state.name, self._now(), avatar=state.avatar, username=f"user-{user_id[:8]}", bio=""
        )
        body["bio"] = "x" * (SIZE - len(encode(body)))
        return Event(
            user_id, Kind.PROFILE, encode(body), self._headers(PROFILE_UPDATED, user_id), state.name, state.avatar
        )

    def deletion(self, user_id: str, *, hard: bool) -> Event:
        value = encode(deleted_payload(user_id, self._now(), soft=not hard))
        return Event(user_id, Kind.HARD if hard else Kind.SOFT, value, self._headers(DELETED, user_id))

    def poison(self, event: Event) -> Event:
        """Makes the event undecodable in one of several ways."""
        broken = self.random.choice([
            event.value[:-1], b"\xff" + event.value, event.value.replace(b'"user_id"', b'"user"'),
            event.value.replace(b'"Ada ', b'"' + b"A" * 300),
        ])  # fmt: skip
        return replace(event, kind=Kind.POISON, value=broken)

    def _now(self) -> str:
        self._made += 1
        return (START + timedelta(microseconds=self._made)).isoformat()

    def _headers(self, kind: str, user_id: str) -> dict[str, bytes]:
        return headers(kind, self.uuid(), aggregate_id=user_id, created_at=START.isoformat())


def noise(maker: Maker, events: int, *, known: bool = False) -> Workload:
    """Makes W1: ten events a user, 95% of which change nothing in Matrix. `known`: the users were seen before."""
    accounts = {maker.uuid(): maker.account() for _ in range(max(1, events // 10))}
    primer = [maker.profile(user, state) for user, state in accounts.items()] if known else []
    now, users, made = dict(accounts), list(accounts), []
    for _ in range(events):
        user = maker.random.choice(users)
        if maker.random.random() < 0.05:
            now[user] = replace(now[user], name=maker.account().name)
        made.append(maker.profile(user, now[user]))
    return Workload("noise known" if known else "noise", made, accounts, primer=primer)


def changes(maker: Maker, events: int) -> Workload:
    """Makes W2: every event changes name and avatar; two events a user, far apart."""
    accounts = {maker.uuid(): maker.account() for _ in range(max(1, events // 2))}
    users = list(accounts)
    made = [maker.profile(user, maker.account()) for _ in range(2) for user in users]
    for user in users[: round(UNKNOWN * len(users))]:
        del accounts[user]
    return Workload("changes", made, accounts)


def hot(maker: Maker, events: int) -> Workload:
    """Makes W3: a hundred events a user, each a change, close together."""
    accounts = {maker.uuid(): maker.account() for _ in range(max(1, events // 100))}
    users = list(accounts)
    made = [maker.profile(maker.random.choice(users), maker.account()) for _ in range(events)]
    return Workload("hot", made, accounts)


def deletions(maker: Maker, events: int) -> Workload:
    """Makes W4: every event deactivates an account, every second event erases it."""
    accounts = {maker.uuid(): maker.account() for _ in range(events)}
    made = [maker.deletion(user, hard=number % 2 == 0) for number, user in enumerate(accounts)]
    return Workload("deletions", made, accounts)


def faults(maker: Maker, events: int) -> Workload:
    """Makes W5: W2 with 1% of poison records. The stub adds the failures of Synapse."""
    plain = changes(maker, events)
    mixed = [maker.poison(event) if maker.random.random() < POISON else event for event in plain.events]
    return Workload("faults", mixed, plain.accounts)


def live(maker: Maker, events: int, *, changing: float) -> Workload:
    """Makes events of known users, a share of which change the name; they are sent one by one."""
    accounts = {maker.uuid(): maker.account() for _ in range(200)}
    now, users = dict(accounts), list(accounts)
    made = []
    primer = [maker.profile(user, state) for user, state in accounts.items()]
    for _ in range(events):
        user = maker.random.choice(users)
        if maker.random.random() < changing:
            now[user] = replace(now[user], name=maker.account().name)
        made.append(maker.profile(user, now[user]))
    return Workload("live", made, accounts, primer=primer, waits=False)


WORKLOADS: Mapping[str, Callable[[Maker, int], Workload]] = {
    "noise": noise,
    "noise known": lambda maker, events: noise(maker, events, known=True),
    "changes": changes,
    "hot": hot,
    "deletions": deletions,
    "faults": faults,
    "live": lambda maker, events: live(maker, events, changing=1.0),
    "live noise": lambda maker, events: live(maker, events, changing=0.05),
}


def make(name: str, events: int, partitions: int, seed: int = 1) -> Workload:
    """Makes a workload by name. Each partition ends with an event of a user that has no other events: once these have
    taken effect, everything before them has been processed."""
    maker = Maker(seed)
    workload = WORKLOADS[name](maker, events)
    return ended(workload, maker, partitions)


def ended(workload: Workload, maker: Maker, partitions: int) -> Workload:
    enders = {maker.uuid(): maker.account() for _ in range(partitions)}

    def ends() -> list[Event]:
        return [
            replace(maker.profile(user, maker.account()), partition=number) for number, user in enumerate(enders)
        ]  # fmt: skip

    primer = [*workload.primer, *ends()] if workload.primer else []
    return replace(workload, accounts={**workload.accounts, **enders}, primer=primer, ends=ends())
