"""Puts Matrix Authentication Service (MAS) under a scenario: faults of its requests and jobs, and what its clients do."""

import random
from collections.abc import Callable
from dataclasses import replace

from tests.simulation.events import DELETIONS, Event, Kind
from tests.simulation.scenario import Action, Deed, Hit, Outage, Part, RequestFault, Scenario, User, Verb

_DELETION_VERBS = (
    [Verb.MAS_DEACTIVATE] * 5 + [Verb.MAS_USER] * 2 + [Verb.TELL] * 3 + [Verb.DEACTIVATE] * 2 + [Verb.LOOK]
)
_VERBS = {
    Kind.SOFT: _DELETION_VERBS,
    Kind.HARD: _DELETION_VERBS,
    Kind.CREATED: [Verb.MAS_CREATE] * 4 + [Verb.MAS_LINK] * 3 + [Verb.TELL] * 3 + [Verb.MAS_USER],
    Kind.PASSWORD: [Verb.MAS_SESSIONS] * 5 + [Verb.MAS_USER],
}
_OWNED = {Verb.DEACTIVATE: Verb.MAS_DEACTIVATE, Verb.CREATE: Verb.MAS_CREATE, Verb.DEVICES: Verb.MAS_SESSIONS}
_TELL_HITS = [Hit.LATE, Hit.LATE, Hit.LOST, Hit.LOST, Hit.RESET, Hit.ERROR, Hit.ERROR_DONE, Hit.SLOW, Hit.HANG]
_SESSION_DEEDS = [Deed.DEVICE] * 3 + [Deed.SYNC]

Draw = tuple[Hit, float]


def under_mas(scenario: Scenario, draw: random.Random, hit: Callable[[random.Random], Draw]) -> Scenario:
    """Returns the scenario with accounts that MAS owns; `hit` draws what a fault does, and for how long."""
    trouble = draw.choice((0, 1, 2, 3, 4)) if scenario.requests else draw.choice((0, 1))
    faults = [_fault(draw, scenario.events, hit) for _ in range(draw.randint(0, trouble)) if scenario.events]
    outages = [
        _outage(draw, scenario.events) for _ in range(draw.choice((0, 0, 1, 1, 2))) if trouble and scenario.events
    ]
    actions = [*scenario.actions, *_actions(draw, scenario.events)]
    if scenario.events and draw.random() < 0.1:  # another client ends an account, and Synapse never learns of it
        event = draw.choice(scenario.events)
        actions.append(Action(event.when + 1, event.user, Deed.DEACTIVATE))
        outages.append(Outage(Part.JOBS, event.when, 8.0, Hit.ERROR))
    return replace(
        scenario,
        mas=True,
        users=tuple(_user(draw, user) for user in scenario.users),
        requests=(*(_owned(draw, fault) for fault in scenario.requests), *faults),
        outages=(*scenario.outages, *outages),
        actions=tuple(sorted(actions, key=lambda action: action.when)),
    )


def _user(draw: random.Random, user: User) -> User:
    return replace(user, at_mas=draw.random() < 0.9)


def _owned(draw: random.Random, fault: RequestFault) -> RequestFault:
    """Returns a fault of what Synapse is asked as one of what MAS is asked instead."""
    verb = _OWNED.get(fault.verb, fault.verb)
    return fault if draw.random() < 0.2 else replace(fault, verb=verb)


def _fault(draw: random.Random, events: tuple[Event, ...], hit: Callable[[random.Random], Draw]) -> RequestFault:
    event = draw.choice(events)
    verb = draw.choice(_VERBS.get(event.kind, [Verb.MAS_USER]))
    before = sum(one.kind is event.kind and one.user == event.user and one.when < event.when for one in events)
    how, seconds = hit(draw)
    if verb is Verb.TELL:  # MAS is no pod, which could be killed
        how, seconds = draw.choice(_TELL_HITS), draw.choice((2.0, 12.0, 40.0, 110.0))
    times, doom = draw.choice((1, 1, 2, 5, 10 if verb is Verb.TELL else 1)), draw.random() < 0.3
    return RequestFault(event.user, verb, draw.randint(0, before + 1), how, seconds, times, doom)


def _outage(draw: random.Random, events: tuple[Event, ...]) -> Outage:
    """Returns an outage of MAS or of its jobs; the latter mostly around a deletion."""
    ends = [event.when for event in events if event.kind in DELETIONS]
    when = max(0.0, draw.choice(ends or [event.when for event in events]) + draw.uniform(-5, 2))
    if draw.random() < 0.4:
        hit = draw.choice((Hit.RESET, Hit.ERROR, Hit.HANG, Hit.UNAUTHORIZED, Hit.PAGE))
        return Outage(Part.MAS, when, draw.choice((1.0, 8.0, 40.0)), hit)
    return Outage(Part.JOBS, when, draw.choice((8.0, 40.0, 150.0)), draw.choice((Hit.HANG, Hit.SLOW, Hit.ERROR)))


def _actions(draw: random.Random, events: tuple[Event, ...]) -> list[Action]:
    """Returns sessions that begin shortly before or after a change of a password or just then, and device lists that MAS sends."""
    actions: list[Action] = []
    for event in events:
        if event.kind is Kind.PASSWORD or draw.random() < 0.03:
            for _ in range(draw.randint(0, 3)):
                apart = draw.choice((0.0, draw.uniform(0.001, 0.2), draw.uniform(0.001, 3), draw.uniform(0.001, 30)))
                when = max(0.05, event.at + draw.choice((-1, 1)) * apart)
                actions.append(Action(when, event.user, draw.choice(_SESSION_DEEDS)))
    return actions
