"""Checks what happened on the way: ends, letters, calls, late writes, sessions. What stands at the end is oracle.py's."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from function.outcomes import Outcome
from tests.simulation.events import DELETIONS, Kind, uuid_of
from tests.simulation.evidence_rules import evidence_complaints
from tests.simulation.kafka import Delivery, Entry
from tests.simulation.oracle import KNOWN_FOR, SLACK, Complaint, account_complaints
from tests.simulation.scenario import Deed
from tests.simulation.world import World
from tests.support.events import EPOCH

CALLS_A_USER = 14  # at most, for one user in one delivery: each step with its tries, looks and media
CALLS_UNDER_MAS = 40  # MAS is looked at as well, and Synapse until it follows
CALLS_LATER = 40  # at most, for all that is done for a user outside deliveries

HOUR = 3600.0 - 2 * SLACK  # a deletion may take effect late

NO_USER = -1


def complaints(world: World) -> list[Complaint]:
    """Returns every broken rule of a run; if it did not end, only that."""
    if world.stuck:
        return [Complaint("stuck", NO_USER, world.stuck)]
    found: list[Complaint] = []
    for rule in (
        account_complaints,
        _ends,
        _letters,
        _calls,
        _redelivery,
        _late_writes,
        _sessions,
        _mas_sessions,
        _limit,
        evidence_complaints,
    ):
        found += rule(world)
    return found


def _ends(world: World) -> Iterator[Complaint]:
    """Every record ends in exactly one way."""
    for entry in world.kafka.entries:
        if entry.final is None:
            yield _about(entry, "no_end", "committed without a final answer")
        ends = {one.outcome for _, _, one, heard in entry.results if heard}
        kind = entry.event.kind
        if kind is Kind.OTHER and ends - {Outcome.IGNORED, Outcome.RETRY}:
            yield _about(entry, "wrong_end", f"an event of another type ended {sorted(ends)}")
        if kind is not Kind.OTHER and Outcome.IGNORED in ends:
            yield _about(entry, "wrong_end", "an event of ours was ignored")
        if kind is Kind.BROKEN and ends - {Outcome.DEAD_LETTER, Outcome.RETRY}:
            yield _about(entry, "wrong_end", f"a broken event ended {sorted(ends)}")


def _letters(world: World) -> Iterator[Complaint]:
    """A letter stands in the topic for each answer that says so, and no other that its delivery knows of."""
    by_record: dict[int, Counter[int]] = {}
    for letter in world.topic.letters:
        if letter.acknowledged:
            by_record.setdefault(id(letter.record), Counter())[letter.call] += 1
    for entry in world.kafka.entries:
        letters = by_record.get(id(entry.record), Counter())
        answers = {call: one.outcome for call, _, one, heard in entry.results if heard}
        for call, outcome in answers.items():
            if outcome is Outcome.DEAD_LETTER and not letters[call]:
                yield _about(entry, "letter_lost", "answered as dead-lettered, and there is no letter")
            if outcome is not Outcome.DEAD_LETTER and letters[call]:
                yield _about(entry, "letter_doubled", f"a letter was published and the event answered {outcome.value}")
        if any(count > 1 for count in letters.values()):
            yield _about(entry, "letter_doubled", "published twice by one delivery")


def _calls(world: World) -> Iterator[Complaint]:
    for (call, user), count in world.network.by_call.items():
        usual = CALLS_UNDER_MAS if world.mas else CALLS_A_USER
        most = usual if call >= 0 else CALLS_LATER * (1 + len(world.kafka.entries))
        if count > most:
            yield Complaint("too_many_calls", user, f"{count} requests for one user in delivery {call}")


def _redelivery(world: World) -> Iterator[Complaint]:
    """A delivery that only repeats what ended before, without any trouble for that user, costs no request."""
    troubled = world.network.hit_users | {one.action.user for one in world.applied}
    if world.scenario.blows or world.scenario.stores or world.scenario.outages or world.values.conflicts:
        return
    for delivery in world.kafka.deliveries:
        users = {entry.event.user for entry in delivery.entries} - troubled
        for user in users:
            if not world.scenario.users[user].exists:
                continue
            entries = [entry for entry in delivery.entries if entry.event.user == user]
            count = world.network.by_call[delivery.call, user]
            if count and all(_repeats(world, entry, delivery) for entry in entries):
                yield _about(entries[0], "redelivery_calls", f"{count} requests for events that ended before")


def _repeats(world: World, entry: Entry, delivery: Delivery) -> bool:
    """Whether the same event had ended when this delivery began, in its turn and not as a dead letter."""
    if entry.event.kind in {*DELETIONS, Kind.CREATED} or "https" in entry.event.avatar:
        return False
    ours = [one for one in world.kafka.entries if one.event.user == entry.event.user]
    if any(one.event.kind is not Kind.PROFILE for one in ours):
        return False
    same = [one for one in ours if one.event.says == entry.event.says]
    return any(
        when < delivery.begun and result.outcome in {Outcome.APPLIED, Outcome.UNCHANGED, Outcome.STALE}
        for one in same
        for _, when, result, _ in one.results
    )


def _late_writes(world: World) -> Iterator[Complaint]:
    """An account that another client deactivated is written to for ten minutes at most after it was seen active."""
    for write in world.synapse.late_writes:
        ended = [
            one
            for one in world.applied
            if one.action.user == write.user and one.when < write.done and one.action.deed in _ENDS
        ]
        if ended and ended[-1].action.deed is not Deed.REACTIVATE:
            since = _begun(ended)
            if write.sent > since + KNOWN_FOR + SLACK:
                yield Complaint(
                    "written_long_after", write.user, f"{write.sent - since:.0f} s after another client ended it"
                )


def _begun(ended: list) -> float:  # type: ignore[type-arg]
    """Returns when the account was deactivated for the last time."""
    since = ended[-1].when
    for one in reversed(ended):
        if one.action.deed is Deed.REACTIVATE:
            break
        since = one.when
    return float(since)


def _sessions(world: World) -> Iterator[Complaint]:
    """A session that began after every delivery of a password change lives on."""
    homeserver = world.homeserver
    for number, one in enumerate(world.applied):
        user = one.action.user
        events = [entry for entry in world.kafka.entries if entry.event.user == user]
        ended = any(e.event.kind in DELETIONS for e in events) or any(
            other.action.user == user and other.action.deed in _ENDS for other in world.applied
        )
        if one.action.deed is not Deed.DEVICE or ended or (world.mas and world.mas.user(user)):
            continue
        passwords = [entry for entry in events if entry.event.kind is Kind.PASSWORD]
        last = max((when for entry in passwords for _, when, _, _ in entry.results), default=-1.0)
        first = max((entry.final or 0.0 for entry in passwords), default=-1.0)
        alive = f"D{number}" in homeserver.devices.get(homeserver.mxid(uuid_of(user)), [])
        if not alive and one.when > last:
            yield Complaint("session_lost", user, "a session that began after the password change was ended")
        if alive and passwords and one.when < min(entry.produced for entry in passwords) and first > 0:
            yield Complaint("session_left", user, "a session from before the password change lives on")


def _mas_sessions(world: World) -> Iterator[Complaint]:
    """A session at MAS has ended if it began by the newest change of the password, and else lives on."""
    mas = world.mas
    for number in range(len(world.scenario.users) if mas else 0):
        events = [entry.event for entry in world.kafka.entries if entry.event.user == number]
        ended = any(event.kind in DELETIONS for event in events) or any(
            one.action.user == number and one.action.deed in _ENDS for one in world.applied
        )
        changed = EPOCH + timedelta(seconds=max((e.at for e in events if e.kind is Kind.PASSWORD), default=-1.0))
        for session in [] if ended or mas is None else mas.sessions(number):
            active, began = session.finished_at is None, session.created_at
            what = f"a {session.kind} session of {began:%H:%M:%S.%f}, with a new password of {changed:%H:%M:%S.%f},"
            if active and began <= changed:
                yield Complaint("session_left", number, f"{what} lives on")
            if not active and began > changed:
                yield Complaint("session_lost", number, f"{what} was ended")


def _limit(world: World) -> Iterator[Complaint]:
    """No more accounts are ended in an hour than the limit allows, over all pods."""
    touched = {one.action.user for one in world.applied}
    ended = sorted(when for user, when in world.homeserver.ended.items() if user not in touched)
    for when in ended if world.scenario.limit else []:
        count = sum(when <= other < when + HOUR for other in ended)
        if count > world.scenario.limit:
            yield Complaint("limit_exceeded", NO_USER, f"{count} accounts were ended within an hour of {when:.0f} s")


def _about(entry: Entry, rule: str, says: str) -> Complaint:
    return Complaint(rule, entry.event.user, f"{entry.event.kind} of {entry.event.when:.1f} s: {says}")


_ENDS = (Deed.DEACTIVATE, Deed.ERASE, Deed.REACTIVATE)
