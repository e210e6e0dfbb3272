"""Evidence: each change of an account is published at least once, in order, whatever crashes between call and publication."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from function.accounts.job import Job
from function.accounts.updater import CLAIM
from function.accounts.user_state import UserState
from function.accounts.user_store import Versioned
from function.changes import Change
from function.outcomes import Outcome, Reason, TryAgain
from tests.support.events import ALICE, BOB, created, deletion, password, profile
from tests.support.fake_dapr import FakeResults
from tests.support.harness import Harness, world
from tests.support.mas_world import mas_world

pytestmark = pytest.mark.anyio
APPLIED, UNCHANGED, RETRY = Outcome.APPLIED, Outcome.UNCHANGED, Outcome.RETRY
NAMED = ("event-1", ("display_name_set",))


@asynccontextmanager
async def telling(*logged_in: str) -> AsyncIterator[tuple[Harness, FakeResults]]:
    """Yields a harness that publishes changes."""
    async with world(*logged_in) as w:
        w.results = results = FakeResults()
        w.restart()
        yield w, results


def crash_after(w: Harness, writes: int) -> None:
    """Lets the process die before the write to the state store after the next `writes`."""
    w.state.sparing, w.state.losing = writes, 1


def next_process(w: Harness) -> None:
    """Starts another process, once the claim of the first has ended."""
    w.state.losing, w.health.failure = 0, None
    w.restart()
    w.clock.now += CLAIM + timedelta(seconds=1)


async def test_each_kind_of_change_is_told_with_its_event() -> None:
    async with telling() as (w, results):
        w.homeserver.devices.setdefault(w.homeserver.mxid(ALICE), []).append("PHONE")
        assert (
            await w.one_by_one([created(second=0), profile(second=1, offset=1, avatar_url="mxc://test.example/a")])
            == [APPLIED] * 2
        )
        w.clock.now += timedelta(seconds=5)
        assert await w.one_by_one([password(second=2), profile(second=3, offset=2, avatar_url="")]) == [APPLIED] * 2
        assert await w.process(deletion(second=4, offset=3)) == [APPLIED]
        assert await w.process(deletion(second=5, offset=4, soft=False)) == [APPLIED]
        assert [(one["type"].removeprefix("matrix.account."), one["data"]["done"]) for one in results.messages] == [
            ("created", ["account_created"]), ("profile_updated", ["display_name_set", "avatar_set"]),
            ("sessions_ended", ["sessions_ended"]), ("profile_updated", ["avatar_removed"]), ("deactivated", ["deactivated"]),
            ("erased", ["deactivated", "erased"]),
        ]  # fmt: skip
        assert {one["data"]["confirmed_by"] for one in results.messages} == {"answer"}
        assert (w.state.record(ALICE).unpublished, w.state.record(ALICE).announced) == (None, None)


async def test_what_changed_nothing_is_not_told() -> None:
    async with telling(ALICE) as (w, results):
        events = [profile(offset=1), profile(offset=1), profile(BOB, offset=2), deletion(BOB, 1, offset=3)]
        assert await w.one_by_one(events) == [APPLIED, UNCHANGED, Outcome.NO_ACCOUNT, Outcome.NO_ACCOUNT]
        assert results.told == [NAMED]


async def test_without_a_results_topic_a_state_is_as_before() -> None:
    async with world(ALICE) as w:
        await w.process(profile(offset=1))
        assert b"announced" not in w.state.stored_bytes(ALICE)
        assert b"unpublished" not in w.state.stored_bytes(ALICE)
        assert (w.state.reads, w.state.writes) == (2, 2)


async def test_an_event_waits_until_its_change_is_published() -> None:
    async with telling(ALICE) as (w, results):
        results.down = True
        [result] = await w.processor.process([profile(offset=1)])
        assert (result.outcome, result.failure and result.failure.reason) == (RETRY, Reason.PUBLISH_FAILED)
        assert w.account()["displayname"] == "Alice Example"
        results.down = False
        assert await w.process(profile(offset=1)) == [UNCHANGED]
        assert results.told == [NAMED]
        assert w.state.record(ALICE).unpublished is None


async def test_what_kafka_took_without_an_answer_is_published_again_under_its_id() -> None:
    async with telling(ALICE) as (w, results):
        results.losing = 1
        assert await w.one_by_one([profile(offset=1), profile(offset=1)]) == [RETRY, UNCHANGED]
        assert results.told == [NAMED, NAMED]
        assert len(set(results.ids)) == 1


async def test_the_next_event_is_carried_out_after_earlier_changes_are_published() -> None:
    async with telling(ALICE) as (w, results):
        results.down = True
        assert await w.process(profile(second=1, offset=1)) == [RETRY]
        assert await w.process(deletion(second=2, offset=2, soft=False)) == [RETRY]
        assert not w.account()["deactivated"]
        results.down = False
        assert await w.process(deletion(second=2, offset=2, soft=False)) == [APPLIED]
        assert results.told == [NAMED, ("event-2", ("deactivated", "erased"))]


async def test_a_user_whose_changes_can_not_be_written_makes_no_other_wait() -> None:
    async with telling(ALICE, BOB) as (w, results):
        later_release = UserState(unpublished=(Change(("frozen",), w.clock.now),))
        await w.users.write({ALICE: Versioned(later_release)})
        assert await w.process(profile(ALICE, offset=1), profile(BOB, offset=2)) == [RETRY, APPLIED]
        assert results.told == [("event-2", ("display_name_set",))]


@pytest.mark.parametrize("event", [profile(offset=1), deletion(offset=1), deletion(offset=1, soft=False)])
@pytest.mark.parametrize("writes", [0, 1, 2])
async def test_a_change_is_told_wherever_the_process_dies(event: object, writes: int) -> None:
    """Before the claim, between call and confirmation, and between publication and the removal of what was published."""
    async with telling(ALICE) as (w, results):
        crash_after(w, writes)
        assert await w.process(event) == [RETRY]  # type: ignore[arg-type]
        next_process(w)
        assert await w.process(event) != [RETRY]  # type: ignore[arg-type]
        assert {event_id for event_id, _ in results.told} == {"event-1"}
        assert len(set(results.ids)) == 1
        assert (w.state.record(ALICE).unpublished, w.state.record(ALICE).announced) == (None, None)


async def test_a_change_that_is_found_says_so() -> None:
    """It says what the account is like; that the avatar was there before the event is not known."""
    async with telling(ALICE) as (w, results):
        crash_after(w, 1)
        assert await w.process(profile(offset=1)) == [RETRY]
        next_process(w)
        assert await w.process(profile(offset=1)) == [UNCHANGED]
        assert results.told == [("event-1", ("display_name_set", "avatar_removed"))]
        assert results.messages[0]["data"]["confirmed_by"] == "look"


async def test_a_recheck_that_finds_a_deletion_carried_out_tells_it() -> None:
    async with telling(ALICE) as (w, results):
        crash_after(w, 1)
        assert await w.process(deletion(offset=1)) == [RETRY]
        next_process(w)
        assert await w.processor.recheck(ALICE)
        assert results.told == [("event-1", ("deactivated",))]


async def test_a_repair_is_told_without_an_event() -> None:
    async with telling(ALICE) as (w, results):
        await w.process(profile(offset=1))
        w.account().update(displayname="Other")
        await recheck(w)
        assert results.told == [NAMED, (None, ("display_name_set",))]
        assert results.messages[1]["data"]["event_type"] is None


async def test_a_repair_whose_change_is_not_published_is_followed_by_a_recheck() -> None:
    """An audit repairs once, and no event comes again for it."""
    async with telling(ALICE) as (w, results):
        await w.process(profile(offset=1))
        w.account().update(displayname="Other")
        results.down = True
        assert await recheck(w) == TryAgain(Reason.PUBLISH_FAILED, "down").args
        assert ALICE in w.rechecks.due
        results.down = False
        await w.processor.recheck(ALICE)
        assert results.told[1:] == [(None, ("display_name_set",))]


async def test_a_repair_is_told_although_its_process_dies() -> None:
    async with telling(ALICE) as (w, results):
        await w.process(deletion(offset=1))
        w.account().update(deactivated=False)
        crash_after(w, 1)
        await recheck(w)
        assert w.account()["deactivated"]
        next_process(w)
        assert await w.processor.recheck(ALICE)
        assert results.told[1:] == [(None, ("deactivated",))]


async def test_under_mas_the_same_is_told() -> None:
    async with mas_world(ALICE) as w:
        w.results = results = FakeResults()
        w.restart()
        assert await w.process(deletion(offset=1, soft=False)) == [APPLIED]
        assert results.told == [("event-1", ("deactivated", "erased"))]


async def test_a_dry_run_stores_and_removes_nothing() -> None:
    async with telling(ALICE) as (w, _):
        w.state.read_only = True
        await w.process(profile(offset=1))
        assert w.state.record(ALICE).unpublished is None


async def test_no_name_and_no_address_is_in_a_message() -> None:
    async with telling(ALICE) as (w, results):
        await w.one_by_one([profile(avatar_url="mxc://test.example/a"), deletion(second=1, soft=False)])
        text = str(results.messages)
        assert results.messages
        assert not any(word in text for word in ("Alice", "ally", "mxc:", "words"))


async def recheck(w: Harness) -> Sequence[object]:
    """Repairs as an audit does; returns why it failed."""
    job = Job(ALICE, (), recheck=True)
    await w.updater.load([job])
    await w.updater.update([job])
    return job.failure.args if job.failure else ()
