"""Seeded workloads: the events, the accounts before them, and what has to be true after them. Pure.

The shapes are those of issue tables: W1 noise, W2 changes, W3 hot, W4 deletions, W5 faults. A workload may be made with
fewer events for a slow system: its shape stays the same.
"""

import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from dev.identity_events import DELETED, PROFILE_UPDATED, START, deleted_payload, encode, headers, profile_payload

SIZE = 1024  # bytes of a profile's payload, about what the producer sends
UNKNOWN = 0.01  # share of W2's users without a Matrix account
POISON = 0.01  # share of W5's events that can't be read


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
    """One record for the topic, and what it asks for. `partition` is for the records that mark the end."""

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
    """Events in their order; who has an account before; the last event of each partition.

    `primer` comes before and is not measured: it makes every user known to a system that remembers. `waits`: all of it
    lies in the topic before the system looks; else it comes while the system runs.
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
    """Makes events from one seed; each is newer than the one before."""

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
        """A bare payload typed by headers, as the producer sends it, with a biography that fills it up."""
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
        """The event in one of the ways in which it can't be read."""
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
    """W1: ten events a user, of which 95% change nothing in Matrix. `known`: the users were seen before."""
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
    """W2: every event changes name and avatar; two events a user, far apart."""
    accounts = {maker.uuid(): maker.account() for _ in range(max(1, events // 2))}
    users = list(accounts)
    made = [maker.profile(user, maker.account()) for _ in range(2) for user in users]
    for user in users[: round(UNKNOWN * len(users))]:
        del accounts[user]
    return Workload("changes", made, accounts)


def hot(maker: Maker, events: int) -> Workload:
    """W3: a hundred events a user, every one a change, close together."""
    accounts = {maker.uuid(): maker.account() for _ in range(max(1, events // 100))}
    users = list(accounts)
    made = [maker.profile(maker.random.choice(users), maker.account()) for _ in range(events)]
    return Workload("hot", made, accounts)


def deletions(maker: Maker, events: int) -> Workload:
    """W4: every event ends an account, every second one erases it."""
    accounts = {maker.uuid(): maker.account() for _ in range(events)}
    made = [maker.deletion(user, hard=number % 2 == 0) for number, user in enumerate(accounts)]
    return Workload("deletions", made, accounts)


def faults(maker: Maker, events: int) -> Workload:
    """W5: W2 with 1% of poison among it. What Synapse does wrong meanwhile is the stub's part."""
    plain = changes(maker, events)
    mixed = [maker.poison(event) if maker.random.random() < POISON else event for event in plain.events]
    return Workload("faults", mixed, plain.accounts)


def live(maker: Maker, events: int, *, changing: float) -> Workload:
    """Events of users that are known, of which a share changes the name; they come one by one."""
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
    """A workload by name, with an event at the end of each partition, of a user of its own: once those have taken
    effect, everything before them has been handled."""
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
