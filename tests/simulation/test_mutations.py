"""Each fault that is put in on purpose is seen in a scenario of its own, in which the code as it is breaks no rule."""

import pytest

from tests.simulation.events import Event, Kind
from tests.simulation.mutation import Mutation
from tests.simulation.mutations import MUTATIONS
from tests.simulation.run import run
from tests.simulation.scenario import (
    Action,
    Deed,
    Hit,
    LetterFault,
    Outage,
    Part,
    RequestFault,
    ResultFault,
    Scenario,
    User,
    Verb,
)

ONE, TWO = "mxc://test.example/one", "mxc://test.example/two"


def profile(when: float, name: str, avatar: str = "") -> Event:
    return Event(when, 0, Kind.PROFILE, when, name, avatar)


def deletion(when: float, user: int = 0, kind: Kind = Kind.HARD) -> Event:
    return Event(when, user, kind, when)


def scenario(*events: Event, user: User = User(), seed: int = 1, **parts: object) -> Scenario:  # noqa: B008 - frozen
    return Scenario(seed, (user, User(), User()), partitions=1, batch=30, events=events, **parts)  # type: ignore[arg-type]


def hit(verb: Verb, nth: int, how: Hit, seconds: float = 0.0, **more: object) -> tuple[RequestFault, ...]:
    return (RequestFault(0, verb, nth, how, seconds, **more),)  # type: ignore[arg-type]


def acts(**deeds: float) -> tuple[Action, ...]:
    return tuple(Action(when, 0, Deed[deed.upper()]) for deed, when in deeds.items())


GONE = User(exists=False)
FAILING_JOBS = (Outage(Part.JOBS, 0.0, 60.0, Hit.ERROR),)
SHOWN = {
    "A2-any-answer": scenario(profile(5, "Ann"), requests=hit(Verb.NAME, 0, Hit.MAINTENANCE)),
    "B1-trusting-deletion": scenario(
        profile(20, "Ann"), deletion(30, kind=Kind.SOFT), actions=acts(deactivate=10, reactivate=25)
    ),
    "B2-seen-once": scenario(
        profile(30, "Ann"), profile(1700, "Bea"), actions=acts(deactivate=20, reactivate=40)
    ),
    # The first pod is frozen before it sends the deletion, another takes over and is frozen too; the call is the first one's.
    "C8-uncalled-traces": Scenario(
        1584, (User(),), partitions=1, batch=1, removes=True, events=(Event(4025.5, 0, Kind.HARD, 4025.467257987323),),
        requests=hit(Verb.DEACTIVATE, 0, Hit.FREEZE_BEFORE, 150.0, times=5),
    ),
    "C8-lost-redaction": scenario(deletion(5), removes=True, requests=hit(Verb.ROOMS, 0, Hit.ERROR, times=5)),
    "B8-no-limit": scenario(deletion(5), deletion(6, 1), deletion(7, 2), limit=1),
    "B10-no-link": scenario(
        Event(5, 0, Kind.CREATED, 5, "Ann"), user=GONE, requests=hit(Verb.CREATE, 0, Hit.HALF, times=5)
    ),
    "B11-assumed-account": scenario(profile(5, "Ann"), user=GONE),
    # The pod is frozen before it sends an older name, another takes over; it wakes, sends, and dies.
    "C1-no-claims": scenario(
        profile(1, "Ann"), profile(20, "Bea"), profile(22, "Cid"), requests=hit(Verb.NAME, 1, Hit.FREEZE_BEFORE, 20.0, doom=True)
    ),
    "C1-blind-save": scenario(
        profile(65.07, "Ann"), profile(65.1, "Cid"), seed=345,
        requests=hit(Verb.NAME, 1, Hit.FREEZE_SENT, 500.0) + hit(Verb.NAME, 0, Hit.MAINTENANCE),
    ),
    "C1-eternal-claims": scenario(profile(5, "Ann"), requests=hit(Verb.NAME, 0, Hit.KILL_SENT, 5.0)),
    # What the dead pod sent is forgotten, and the name that it knew comes back.
    "C1-trusting-takeover": scenario(
        profile(1, "Ann"), profile(20, "Bea"), profile(20.6, "Ann"), requests=hit(Verb.NAME, 1, Hit.KILL_SENT, 10.0)
    ),
    # The pod wakes long after its claim and goes on with the next step.
    "C1-no-deadline": scenario(
        profile(1, "Ann", ONE), profile(20, "Bea", TWO), profile(22, "Cid", ONE),
        requests=hit(Verb.NAME, 1, Hit.FREEZE_SENT, 500.0, doom=True),
    ),
    "C3-no-room-check": scenario(profile(5, "Ann"), deletion(5.4, kind=Kind.SOFT), user=User(rooms=3), seed=2),
    "C4-write-is-look": scenario(
        profile(11, "Ann"), profile(401, "Bea"), profile(909, "Cid"), actions=acts(deactivate=31)
    ),
    "C5-late-sessions": scenario(
        Event(5, 0, Kind.CREATED, 5, "Ann"), Event(5.001, 0, Kind.PASSWORD, 5), profile(900, "Bea"),
        user=GONE, actions=acts(device=60),
    ),
    "C2-no-doubt": scenario(
        profile(1, "Ann"), profile(20, "Bea"), profile(75, "Ann"), requests=hit(Verb.NAME, 1, Hit.LATE, 110.0, times=5)
    ),
    "C2-short-doubt": scenario(
        profile(1, "Ann"), profile(20, "Bea"), profile(75, "Cid"), requests=hit(Verb.NAME, 1, Hit.LATE, 110.0)
    ),
    "C2-no-recheck": scenario(
        profile(1, "Ann"), profile(20, "Bea"), profile(31, "Cid"), requests=hit(Verb.NAME, 1, Hit.LATE, 110.0)
    ),
    # Two deletions over the limit, and the second letter is refused.
    "C7-letters-again": scenario(
        deletion(5, 1), deletion(20, kind=Kind.SOFT), deletion(20.001), limit=1, letters=(LetterFault(1, Hit.RESET),)
    ),
    "C7-letter-lost": scenario(Event(5, 0, Kind.BROKEN, 5), letters=(LetterFault(0, Hit.RESET),)),
    # Publishing is refused: the change is found unpublished at the next delivery.
    "E-dropped": scenario(profile(5, "Ann"), evidence=True, results=(ResultFault(0, Hit.RESET),)),
    "E-removed-first": scenario(profile(5, "Ann"), evidence=True, results=(ResultFault(0, Hit.KILL_BEFORE, 5.0),)),
    "E-newest-first": scenario(
        Event(5, 0, Kind.CREATED, 5, "Ann"), profile(5.0001, "Bea"), user=GONE, evidence=True,
    ),
    # The pod dies once it has sent: the next one finds the name set.
    "E-unannounced": scenario(profile(5, "Ann"), evidence=True, requests=hit(Verb.NAME, 0, Hit.KILL_SENT, 5.0)),
    "P-looks": scenario(profile(5, "Ann"), Event(9, 0, Kind.PROFILE, 5, "Ann")),
    "fold-last-arrival": scenario(profile(5, "Ann"), Event(9, 0, Kind.PROFILE, 4, "Bea")),
    "fold-no-upgrade": scenario(deletion(5, kind=Kind.SOFT), deletion(9)),
    "M1-synapse-alone": scenario(deletion(5), mas=True),
    "M2-mas-alone": scenario(deletion(5), mas=True, outages=FAILING_JOBS),
    # MAS's job fails, so that Synapse does not learn that another client has deactivated the account.
    "M3-half-is-known": scenario(
        profile(1, "Ann"), profile(650, "Bea"), profile(1200, "Cid"), mas=True, actions=acts(deactivate=20), outages=FAILING_JOBS
    ),
    "M4-all-sessions": scenario(Event(30, 0, Kind.PASSWORD, 5), mas=True, actions=acts(device=20)),
    "M5-no-link": scenario(
        Event(5, 0, Kind.CREATED, 5, "Ann"), user=GONE, mas=True, requests=hit(Verb.MAS_CREATE, 0, Hit.LOST)
    ),
    "M6-synapse-sessions": scenario(Event(30, 0, Kind.PASSWORD, 30), mas=True, actions=acts(device=20)),
    "M7-synapse-seen": scenario(
        profile(1, "Ann"), profile(650, "Bea"), profile(1200, "Cid"), mas=True, actions=acts(deactivate=20), outages=FAILING_JOBS
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_the_mutation_is_seen_and_the_code_as_it_is_holds(name: str) -> None:
    mutation: Mutation = next(one for one in MUTATIONS if one.name == name)
    assert run(SHOWN[name]).complaints == []
    broken = {one.rule for one in run(SHOWN[name], mutation.patch).complaints}
    assert broken & set(mutation.rules), broken


def test_every_mutation_is_shown() -> None:
    assert SHOWN.keys() == {one.name for one in MUTATIONS}
