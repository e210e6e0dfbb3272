"""Any order, repetition and concurrency of batches ends in the same account."""

import asyncio
import dataclasses
import itertools
import json
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from function.events.types import Event, PasswordChanged, ProfileUpdated, UserCreated, UserDeleted
from function.kafka.record import KafkaRecord
from function.outcomes import Outcome
from tests.support.events import (
    ALICE,
    BOB,
    EPOCH,
    deleted_payload,
    deletion,
    delivered,
    moment,
    profile,
    profile_payload,
)
from tests.support.harness import Harness, world
from tests.support.strategies import IMAGES, arrivals

pytestmark = pytest.mark.anyio


def record_of(event: Event, place: int) -> KafkaRecord:
    """The event as the producer would write it."""
    seconds = (event.at - EPOCH).total_seconds()
    if isinstance(event, UserDeleted):
        payload = deleted_payload(ALICE, seconds, soft=not event.erase)
        return delivered(payload, "identity.user.deleted", offset=place)
    if isinstance(event, UserCreated):
        payload = {"user_id": ALICE, "username": event.username, "created_at": moment(seconds)}
        return delivered(payload, "identity.user.created", offset=place)
    if isinstance(event, PasswordChanged):
        payload = {"user_id": ALICE, "changed_at": moment(seconds), "invalidate_all_sessions": True}
        return delivered(payload, "identity.user.password_changed", offset=place)
    avatar = event.avatar if isinstance(event.avatar, str) else "ftp://cdn.example/a.png"
    payload = profile_payload(ALICE, seconds, display_name=event.display_name, avatar_url=avatar)
    return delivered(payload, "identity.user.profile_updated", offset=place)


def oracle(happened: list[Event], first_name: str | None) -> dict[str, object]:
    """The account as it should end: the newest profile, unless a deletion came, whenever."""
    deletions = [event.erase for event in happened if isinstance(event, UserDeleted)]
    profiles = [event for event in happened if isinstance(event, ProfileUpdated)]
    if any(deletions):
        return {"deactivated": True, "erased": True, "displayname": None, "avatar_url": None}
    if deletions:
        return {"deactivated": True, "erased": False}
    shown = [event.avatar for event in profiles if isinstance(event.avatar, str)]
    return {
        "deactivated": False,
        "erased": False,
        "displayname": (profiles[-1].display_name or "ally") if profiles else first_name,
        "avatar_url": (shown[-1] or None) if shown else None,
    }


def end_state(w: Harness, expected: dict[str, object]) -> dict[str, object]:
    """The account, a copied avatar as the address that it was copied from."""
    account = dict(w.account())
    content = w.homeserver.media.get(str(account["avatar_url"]))
    account["avatar_url"] = next((a for a, image in IMAGES.items() if image == content), account["avatar_url"])
    return {name: account[name] for name in expected}


# How many records are delivered, whether the save is lost, and whether the process dies with it.
LOSSES = st.sampled_from([(0, False), (0, False), (1, False), (1, True)])

BATCHES = st.lists(st.tuples(st.integers(1, 8), LOSSES), max_size=12)


@settings(max_examples=300)
@given(arrivals(), BATCHES)
async def test_any_order_repetition_batching_and_crash_end_in_the_same_account(
    case: tuple[list[Event], list[Event]], batches: list[tuple[int, tuple[int, bool]]]
) -> None:
    """Newest wins, deletion is terminal, and a write that was lost before its record comes right at the redelivery."""
    happened, arriving = case
    async with world(ALICE) as w:
        first_name = w.account()["displayname"]
        assert isinstance(first_name, str)
        w.avatars.images = dict(IMAGES)
        records = [record_of(event, place) for place, event in enumerate(arriving)]
        for size, (lost_writes, dies) in [*batches, (len(records), (0, False))]:
            w.state.losing = lost_writes
            fates = await w.process(*records[:size])
            w.health.failure = None
            if dies:
                w.restart()
            records = [
                r for r, outcome in zip(records[:size], fates, strict=True) if outcome is Outcome.RETRY
            ] + records[size:]
        assert records == []
        expected = oracle(happened, first_name)
        assert end_state(w, expected) == expected
        assert Outcome.RETRY not in await w.process(*(record_of(event, 0) for event in happened))
        assert end_state(w, expected) == expected
        if not any(dies for _, (_, dies) in batches):  # an upload that only the dead process knew of stays
            assert set(w.homeserver.media) <= {w.account()["avatar_url"]}
        shown = w.account()["avatar_url"]
        assert not str(shown).startswith("mxc://test.example/media") or shown in w.homeserver.media


@given(arrivals(), st.integers(0, 6))
async def test_a_login_between_any_two_events_succeeds_and_deletions_hold(
    case: tuple[list[Event], list[Event]], moment: int
) -> None:
    """The account comes into being at any moment among the events."""
    _, arriving = case
    async with world() as w:
        for place, event in enumerate(arriving):
            if place == moment:
                w.login(ALICE)
            await w.process(record_of(event, place))
        assert w.homeserver.poisoned == set()
        if moment < len(arriving) and any(isinstance(event, UserDeleted) for event in arriving[moment:]):
            assert w.account()["deactivated"] is True


async def test_batches_of_different_users_do_not_wait_for_each_other() -> None:
    """Each of the sidecar's components has a batch of its own in flight."""
    async with world(ALICE, BOB) as w:
        stuck = asyncio.Event()
        w.homeserver.before = waiting_at(ALICE, stuck)
        slow = asyncio.create_task(w.process(profile()))
        assert await w.process(profile(BOB)) == [Outcome.APPLIED]
        assert not slow.done()
        stuck.set()
        assert await slow == [Outcome.APPLIED]


async def test_batches_of_one_user_take_turns_also_when_they_meet() -> None:
    """After a rebalance, say: the newer batch sees the state that the older one saved, and neither overwrites the other."""
    async with world(ALICE) as w:
        stuck = asyncio.Event()
        w.homeserver.before = waiting_at(ALICE, stuck)
        first = asyncio.create_task(w.process(profile(second=5, display_name="New")))
        second = asyncio.create_task(w.process(profile(second=1, display_name="Old"), deletion(BOB)))
        stuck.set()
        assert await first == [Outcome.APPLIED]
        assert await second == [Outcome.STALE, Outcome.NO_ACCOUNT]
        assert w.account()["displayname"] == "New"
        assert w.state.conflicts == 0


@given(arrivals(), st.lists(st.integers(1, 4), min_size=1))
async def test_concurrent_batches_end_in_the_same_account(
    case: tuple[list[Event], list[Event]], sizes: list[int]
) -> None:
    """One user's events, in batches of these sizes, all in flight together with another user's."""
    happened, arriving = case
    async with world(ALICE, BOB) as w:
        first_name = w.account()["displayname"]
        assert isinstance(first_name, str)
        w.avatars.images = dict(IMAGES)
        records = [record_of(event, place) for place, event in enumerate(arriving)]
        batches: list[list[KafkaRecord]] = []
        for size in itertools.cycle(sizes):
            if not records:
                break
            batches, records = [*batches, [*records[:size], profile(BOB, second=len(batches))]], records[size:]
        fates = await asyncio.gather(*(w.process(*batch) for batch in batches))
        assert Outcome.RETRY not in itertools.chain(*fates)
        assert w.state.conflicts == 0
        expected = oracle(happened, first_name)
        assert end_state(w, expected) == expected


def waiting_at(user_id: str, until: asyncio.Event) -> Callable[[str, str], Awaitable[None]]:
    async def before(_method: str, path: str) -> None:
        if user_id in path:
            await until.wait()

    return before


def test_the_records_of_these_tests_are_as_the_producer_writes_them() -> None:
    """The helper must not drift from the shapes that decoding is tested with."""
    record = record_of(UserDeleted("e", ALICE, EPOCH, erase=True), 3)
    assert json.loads(record.value)["soft_delete"] is False
    assert dataclasses.asdict(record)["metadata"]["event_type"] == "identity.user.deleted"
