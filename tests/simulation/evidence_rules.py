"""Checks that each change of an account was told: none lost, none before an earlier one, none that was not made."""

from collections.abc import Iterator
from datetime import datetime

from function.outcomes import Outcome
from tests.simulation.events import DELETIONS, uuid_of
from tests.simulation.evidence import Message
from tests.simulation.homeserver import Effect
from tests.simulation.oracle import Complaint
from tests.simulation.world import World
from tests.support.events import EPOCH

# A change of the account, and the words of which one tells it.
_WORDS = {
    "deactivated": {"deactivated"},
    "erased": {"erased"},
    "created": {"account_created", "identity_linked"},
    "displayname": {"display_name_set", "account_created"},
    "avatar_url": {"avatar_set", "avatar_removed"},
}
_ENDS = ("deactivated", "erased")


def evidence_complaints(world: World) -> Iterator[Complaint]:
    """Yields what is wrong with the messages of the results topic."""
    if not world.scenario.evidence:
        if world.results.messages:
            yield Complaint("evidence_wrong", -1, "published although it is switched off")
        return
    for user in range(len(world.scenario.users)):
        messages = [one for one in world.results.messages if one.user_id == uuid_of(user)]
        yield from _in_order(world, user, messages)
        yield from _applied(world, user, messages)
        yield from _effects(world, user, messages)


def _in_order(world: World, user: int, messages: list[Message]) -> Iterator[Complaint]:
    """What was confirmed is told, in that order; a message that comes again has the same id."""
    told = list(dict.fromkeys(one.id for one in messages))
    confirmed = world.results.confirmed.get(uuid_of(user), [])
    if missing := set(confirmed) - set(told):
        yield Complaint("evidence_lost", user, f"{len(missing)} of {len(confirmed)} confirmed changes were not told")
    elif told != confirmed:
        yield Complaint("evidence_order", user, "the changes were not told in the order in which they were confirmed")


def _applied(world: World, user: int, messages: list[Message]) -> Iterator[Complaint]:
    """Each event that a pod calls applied is told."""
    told = {one.event_id for one in messages}
    for entry in world.kafka.entries:
        applied = any(one.outcome is Outcome.APPLIED for _, _, one, _ in entry.results)
        if applied and entry.event.user == user and entry.event.id not in told:
            yield Complaint(
                "evidence_lost", user, f"{entry.event.kind} of {entry.event.when:.1f} s was applied and not told"
            )


def _effects(world: World, user: int, messages: list[Message]) -> Iterator[Complaint]:
    """What Synapse did to an account is told, after the request began: each end and each creation, and the last name and avatar."""
    effects = [one for one in world.homeserver.effects if one.user == user]
    deleted = any(entry.event.user == user and entry.event.kind in DELETIONS for entry in world.kafka.entries)
    touched = {one.action.user for one in world.applied}
    last = {one.what: one for one in effects}
    for one in effects:
        overtaken = one.what not in _ENDS and (deleted or user in touched or last[one.what] is not one)
        if not overtaken and not any(_tells(message, one) for message in messages):
            yield Complaint("evidence_lost", user, f"{one.what} at {one.when:.1f} s was not told")


def _tells(message: Message, effect: Effect) -> bool:
    at = (datetime.fromisoformat(message.at) - EPOCH).total_seconds()
    return at >= effect.begun - 0.001 and bool(_WORDS[effect.what] & set(message.done))
