"""Makes a scenario of a seed. Each user has a story of events at growing times; faults and other clients are laid over it."""

import random

from tests.simulation.events import BAD_AVATAR, FACES, Event, Kind
from tests.simulation.generate_mas import under_mas
from tests.simulation.scenario import (
    Action,
    Blow,
    Deed,
    Hit,
    LetterFault,
    Outage,
    Part,
    PodFault,
    RequestFault,
    ResultFault,
    Scenario,
    StoreFault,
    User,
    Verb,
)

MAS_SHARE = 0.25  # of the scenarios
_GAPS = (0.001, 0.02, 0.3, 0.3, 1.5, 1.5, 6.0, 6.0, 20.0, 70.0)
_LONG_GAPS = (30.0, 200.0, 400.0, 700.0, 1500.0)
_STEADY_GAPS = (150.0, 300.0, 370.0)
_KINDS = (
    [Kind.PROFILE] * 10 + [Kind.SOFT] * 2 + [Kind.HARD] * 2 + [Kind.CREATED, Kind.PASSWORD, Kind.BROKEN, Kind.OTHER]
)
_NAMES = ("Ann", "Bea", "Cid", "")
_AVATARS = ("", "mxc://test.example/one", "mxc://test.example/two")
_PROFILE_VERBS = [Verb.NAME] * 4 + [Verb.AVATAR] * 3 + [Verb.LOOK] * 2 + [Verb.MEDIA]
_DELETION_VERBS = [Verb.DEACTIVATE] * 5 + [Verb.LOOK, Verb.ROOMS, Verb.TASKS, Verb.NAME]
_VERBS = {
    Kind.PROFILE: _PROFILE_VERBS,
    Kind.SOFT: _DELETION_VERBS,
    Kind.HARD: _DELETION_VERBS,
    Kind.CREATED: [Verb.CREATE, Verb.CREATE, Verb.LOOK],
    Kind.PASSWORD: [Verb.DEVICES],
    Kind.BROKEN: [Verb.LOOK],
    Kind.OTHER: [Verb.LOOK],
}
_HITS = {hit: 1 for hit in Hit if hit is not Hit.HALF} | {
    Hit.LATE: 6, Hit.LOST: 2, Hit.ERROR_DONE: 2, Hit.FREEZE_BEFORE: 7, Hit.FREEZE_SENT: 5, Hit.MOVE: 5, Hit.KILL_SENT: 4,
    Hit.MAINTENANCE: 3, Hit.PAGE: 2,
}  # fmt: skip
_WEIGHED = list(_HITS), list(_HITS.values())
_STORE_HITS = [
    Hit.SLOW,
    Hit.LOST,
    Hit.RESET,
    Hit.LATE,
    Hit.KILL_BEFORE,
    Hit.KILL_SENT,
    Hit.FREEZE_BEFORE,
    Hit.FREEZE_SENT,
]


def generate(seed: int, *, mas: bool | None = None) -> Scenario:
    """Returns the scenario of a seed. MAS owns the accounts in a quarter of them, or as `mas` says."""
    draw = random.Random(f"{seed} under MAS")
    owned = draw.random() < MAS_SHARE
    scenario = _scenario(seed)
    return under_mas(scenario, draw, _hit) if (owned if mas is None else mas) else scenario


def _hit(draw: random.Random) -> tuple[Hit, float]:
    hit = draw.choices(*_WEIGHED)[0]
    return hit, _seconds(draw, hit)


def _scenario(seed: int) -> Scenario:
    draw = random.Random(seed)
    users = tuple(User(draw.random() < 0.8, draw.choice((0, 0, 1, 3))) for _ in range(draw.choice((1, 1, 2, 2, 3, 5))))
    long = draw.random() < 0.35
    pods = draw.choice((1, 2, 2, 3))
    events = [one for number, user in enumerate(users) for one in _story(draw, number, user, long=long)]
    end = max([5.0, *(event.when for event in events)])
    trouble = draw.choice((0, 1, 1, 2, 2, 2, 3, 3, 3, 4))  # a run without any fault must be flawless as well
    replays = sorted(draw.uniform(1, end + 30) for _ in range(draw.choice((0, 0, 0, 1))))
    return Scenario(
        seed,
        users,
        pods,
        components=draw.choice((1, 1, 2)),
        partitions=draw.choice((1, 2, 2, 4)),
        batch=draw.choice((1, 3, 10, 30)),
        latency=draw.choice((0.2, 0.2, 1.0, 1.0, 1.0, 1.0, 1.0, 10.0, 10.0, 50.0)),
        limit=draw.choice((0,) * 30 + (1, 2)),
        skew=draw.choice((0.0, 0.0, 0.0, 0.0, 0.5, 15.0)),
        events=tuple(sorted(events, key=lambda event: event.when)),
        requests=(
            *(_request(draw, events) for _ in range(draw.randint(0, 2 * trouble))),
            *(_redaction(seed, users) if seed % 4 == 0 and trouble else ()),
        ),
        stores=tuple(_store(draw, pods) for _ in range(draw.randint(0, trouble))),
        letters=tuple(
            LetterFault(draw.randint(0, 4), draw.choice((Hit.RESET, Hit.LOST))) for _ in range(draw.randint(0, trouble))
        ),
        outages=tuple(_outage(draw, end) for _ in range(draw.choice((0, 0, 0, 1)) if trouble else 0)),
        blows=tuple(_blow(draw, pods, events) for _ in range(draw.randint(0, trouble))),
        actions=tuple(sorted(_actions(draw, events, users, long=long), key=lambda action: action.when)),
        replays=tuple(replays),
        removes=seed % 4 == 0,
        evidence=draw.random() < 0.6,
        results=tuple(_result(draw) for _ in range(draw.randint(0, 2 * trouble))),
    )


def _story(draw: random.Random, number: int, user: User, *, long: bool) -> list[Event]:
    """Returns a user's events: some late, some twice."""
    story: list[Event] = []
    now = draw.uniform(0.1, 3)
    avatars = (*_AVATARS, *FACES, BAD_AVATAR) if draw.random() < 0.25 else _AVATARS
    steady = (
        long and draw.random() < 0.3
    )  # profiles every few minutes, so that the account is never out of sight for long
    for _ in range(draw.randint(1, 9)):
        gaps = _STEADY_GAPS if steady else _LONG_GAPS if long and draw.random() < 0.5 else _GAPS
        now += draw.choice(gaps) * draw.uniform(0.5, 1.5)
        if story and draw.random() < 0.12:
            earlier = draw.choice(story)
            story.append(Event(now, number, earlier.kind, earlier.at, earlier.name, earlier.avatar))
            continue
        late = draw.choice((0.0,) * 5 + (draw.uniform(0, now),))
        kind = Kind.CREATED if not user.exists and draw.random() < 0.25 else draw.choice(_KINDS)
        kind = Kind.PROFILE if steady and draw.random() < 0.8 else kind
        named = kind in {Kind.PROFILE, Kind.CREATED}
        name = draw.choice(_NAMES[: 3 if kind is Kind.CREATED else 4]) if named else ""
        avatar = draw.choice(avatars) if kind is Kind.PROFILE else ""
        # A profile's username stands in for an empty name, so its name is never empty in Synapse.
        story.append(Event(now, number, kind, now - late, name or ("ally" if kind is Kind.PROFILE else ""), avatar))
        if kind is Kind.CREATED and draw.random() < 0.5:  # a password is set when a user is created
            story.append(Event(now + 0.001, number, Kind.PASSWORD, now))
    return story


def _request(draw: random.Random, events: list[Event]) -> RequestFault:
    """Returns a fault of a request that an event probably causes."""
    event = draw.choice(events[-4:] if draw.random() < 0.5 else events)
    verb = draw.choice(_VERBS[event.kind])
    before = sum(one.kind is event.kind and one.user == event.user and one.when < event.when for one in events)
    hit = Hit.HALF if verb is Verb.CREATE and draw.random() < 0.5 else draw.choices(*_WEIGHED)[0]
    return RequestFault(
        event.user,
        verb,
        draw.randint(0, before),
        hit,
        _seconds(draw, hit),
        5 if hit is Hit.HALF else draw.choice((1, 1, 2, 5)),
        draw.random() < 0.4,
    )


def _redaction(seed: int, users: tuple[User, ...]) -> list[RequestFault]:
    """Returns faults of what is removed after an erasure. Drawn apart, so that the rest of a seed stays as it was."""
    draw = random.Random(f"redaction {seed}")
    faults = []
    for _ in range(draw.randint(0, 2)):
        hit = draw.choices(*_WEIGHED)[0]
        seconds, times, doom = _seconds(draw, hit), draw.choice((1, 1, 2, 5)), draw.random() < 0.4
        faults.append(
            RequestFault(draw.randrange(len(users)), Verb.REDACT, draw.randint(0, 1), hit, seconds, times, doom)
        )
    return faults


def _seconds(draw: random.Random, hit: Hit) -> float:
    if (
        hit is Hit.FREEZE_BEFORE
    ):  # no longer than a late effect: between its last check and the sending a pod checks nothing
        return draw.choice((3.0, 20.0, 60.0, 150.0))
    if hit is Hit.FREEZE_SENT:
        return draw.choice((3.0, 20.0, 60.0, 150.0, 500.0))
    if hit in {Hit.KILL_BEFORE, Hit.KILL_SENT}:
        return draw.choice((2.0, 10.0, 40.0))
    if hit is Hit.MOVE:
        return draw.uniform(1, 9)
    return draw.choice((2.0, 6.0, 12.0, 40.0, 110.0)) if hit is Hit.LATE else draw.uniform(0.5, 9)


def _store(draw: random.Random, pods: int) -> StoreFault:
    hit = draw.choice(_STORE_HITS)
    return StoreFault(draw.randrange(pods), draw.random() < 0.8, draw.randint(0, 6), hit, _seconds(draw, hit))


def _result(draw: random.Random) -> ResultFault:
    hit = draw.choice((Hit.RESET, Hit.LOST, Hit.KILL_BEFORE, Hit.KILL_SENT, Hit.FREEZE_BEFORE, Hit.FREEZE_SENT))
    return ResultFault(draw.randint(0, 6), hit, _seconds(draw, hit))


def _outage(draw: random.Random, end: float) -> Outage:
    part = draw.choice((Part.SYNAPSE, Part.SYNAPSE, Part.STORE, Part.LETTERS))
    hit = draw.choice((Hit.RESET, Hit.ERROR, Hit.HANG, Hit.UNAUTHORIZED)) if part is Part.SYNAPSE else Hit.RESET
    return Outage(part, draw.uniform(0, end), draw.choice((1.0, 8.0, 40.0)), hit)


def _blow(draw: random.Random, pods: int, events: list[Event]) -> PodFault:
    """Returns a blow shortly after an event."""
    when = draw.choice(events).when + draw.uniform(0, 0.3) if events else 1.0
    return PodFault(when, draw.randrange(pods), draw.choice(list(Blow)), draw.choice((2.0, 20.0, 60.0, 500.0)))


def _actions(draw: random.Random, events: list[Event], users: tuple[User, ...], *, long: bool) -> list[Action]:
    """Returns what other clients do to some users, between their events."""
    actions: list[Action] = []
    for number, user in enumerate(users):
        whens = [event.when for event in events if event.user == number]
        spread = 30 if long else 2
        if not user.exists and draw.random() < 0.6:
            actions.append(Action(_near(draw, whens, spread), number, Deed.LOGIN))
        passwords = any(event.kind is Kind.PASSWORD for event in events if event.user == number)
        if draw.random() < (0.7 if passwords else 0.1):
            actions.append(Action(_near(draw, whens, spread), number, Deed.DEVICE))
        if draw.random() < (0.35 if long else 0.15):
            deeds = draw.choice(_PLOTS)
            times = sorted(_near(draw, whens, spread) for _ in deeds)
            actions += [Action(when, number, deed) for when, deed in zip(times, deeds, strict=True)]
    return actions


def _near(draw: random.Random, whens: list[float], spread: float) -> float:
    """Returns a time a little before or after one of `whens`."""
    return max(0.05, draw.choice(whens) + draw.choice((-1, 1)) * draw.uniform(0.01, spread))


_PLOTS = (
    (Deed.DEACTIVATE,),
    (Deed.ERASE,),
    (Deed.RENAME,),
    (Deed.DEACTIVATE, Deed.REACTIVATE),
    (Deed.DEACTIVATE, Deed.REACTIVATE),
    (Deed.ERASE, Deed.REACTIVATE),
    (Deed.ERASE, Deed.RENAME),
    (Deed.REACTIVATE,),
)
