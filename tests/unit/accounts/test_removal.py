"""What a hard-deleted user leaves behind is removed after the deletion: begun, remembered, followed to its end, and told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from function.accounts.later_looks import CHECK_AFTER
from function.accounts.recheck_loop import Checked
from function.accounts.removal import AT_ONCE
from function.accounts.traces import ROUNDS, TIME_LIMIT, Part, Progress, RemovalResult
from function.accounts.user_state import Status, UserState
from function.outcomes import Outcome, TryAgain
from tests.support.events import ALICE, deletion, profile
from tests.support.harness import Harness, world

pytestmark = pytest.mark.anyio

BOTH = frozenset(Part)
MESSAGES, MEDIA = frozenset({Part.MESSAGES}), frozenset({Part.MEDIA})
SETTLED, RUNNING, CHANGED = Checked.SETTLED, Checked.RUNNING, Checked.CHANGED


@asynccontextmanager
async def erased(removes: frozenset[Part] = BOTH, messages: int = 3, files: int = 2) -> AsyncIterator[Harness]:
    """Yields a user who was hard-deleted, and left messages and files."""
    async with world(ALICE, removes=removes) as w:
        mxid = w.homeserver.mxid(ALICE)
        w.homeserver.say(mxid, messages)
        for number in range(files):
            w.homeserver.add_upload(mxid, f"file{number}")
        assert await w.process(deletion(second=1, soft=False)) == [Outcome.APPLIED]
        yield w


def left(w: Harness) -> tuple[int, int]:
    """Returns how many messages can be read, and how many files exist."""
    return w.homeserver.readable(w.homeserver.mxid(ALICE)), len(w.homeserver.media)


def told(w: Harness) -> list[tuple[Part, RemovalResult, int]]:
    return [(one.part, one.result, one.size) for one in w.removals]


async def test_a_deletion_makes_no_call_for_what_is_left_and_remembers_it() -> None:
    """The batch ends as soon as the account is erased."""
    async with erased() as w:
        paths = [path for _, path in w.homeserver.calls()]
        assert [path.split("/")[4] for path in paths] == ["deactivate"]
        traces = w.state.record(ALICE).traces
        assert traces is not None
        assert (traces.messages, traces.media) == (Progress.OUTSTANDING, Progress.OUTSTANDING)
        assert w.rechecks.due == {ALICE: w.clock.now + CHECK_AFTER}


async def test_messages_and_media_are_removed_and_the_end_is_told() -> None:
    async with erased() as w:
        assert await w.processor.recheck(ALICE) is RUNNING
        assert left(w) == (0, 0)
        assert await w.processor.recheck(ALICE) is SETTLED
        assert told(w) == [
            (Part.MESSAGES, RemovalResult.BEGUN, 1),
            (Part.MEDIA, RemovalResult.DONE, 2),
            (Part.MESSAGES, RemovalResult.DONE, 0),
        ]
        assert "complete redaction0" in w.removals[-1].detail


@pytest.mark.parametrize(("removes", "kept"), [(MESSAGES, (0, 2)), (MEDIA, (3, 0)), (frozenset(), (3, 2))])
async def test_only_what_is_asked_for_is_removed(removes: frozenset[Part], kept: tuple[int, int]) -> None:
    async with erased(removes) as w:
        while await w.processor.recheck(ALICE) is not SETTLED:
            pass
        assert left(w) == kept
        assert (w.state.record(ALICE).traces is None) == (not removes)


async def test_a_soft_deletion_removes_nothing() -> None:
    """It can be undone."""
    async with world(ALICE, removes=BOTH) as w:
        w.homeserver.say(w.homeserver.mxid(ALICE))
        await w.process(deletion(second=1))
        assert await w.processor.recheck(ALICE) is SETTLED
        assert left(w)[0] == 1
        await w.process(deletion(second=2, soft=False))
        assert await w.processor.recheck(ALICE) is RUNNING
        assert left(w)[0] == 0


async def test_every_message_of_a_room_is_redacted() -> None:
    """Synapse takes the newest 1,000 unless it is told otherwise."""
    async with erased(MESSAGES, messages=2500) as w:
        await w.processor.recheck(ALICE)
        assert left(w)[0] == 0


async def test_a_redaction_that_runs_is_followed_and_not_begun_again() -> None:
    async with erased(MESSAGES) as w:
        w.homeserver.redaction_looks = 5
        ends = [await w.processor.recheck(ALICE) for _ in range(7)]
        assert ends == [RUNNING] * 6 + [SETTLED]
        assert len(w.homeserver.redactions) == 1


async def test_a_restart_in_the_middle_goes_on() -> None:
    """The record has the redaction's id."""
    async with erased(MESSAGES) as w:
        w.homeserver.redaction_looks = 2
        await w.processor.recheck(ALICE)
        w.restart()
        assert [await w.processor.recheck(ALICE) for _ in range(3)] == [RUNNING, RUNNING, SETTLED]
        assert len(w.homeserver.redactions) == 1


@pytest.mark.parametrize("switch", ["failing_redactions", "lost_redactions"])
async def test_a_redaction_that_fails_or_is_forgotten_is_begun_again(switch: str) -> None:
    """A room was purged in the meantime, or Synapse's database restored."""
    async with erased(MESSAGES) as w:
        setattr(w.homeserver, switch, 1)
        await w.processor.recheck(ALICE)
        assert await w.processor.recheck(ALICE) is RUNNING
        setattr(w.homeserver, switch, 0)
        assert await w.processor.recheck(ALICE) is SETTLED
        assert (left(w)[0], len(w.homeserver.redactions)) == (0, 2)


async def test_what_can_not_be_redacted_is_told_with_its_number_and_ends_the_work() -> None:
    """The account is erased all the same."""
    async with erased(MESSAGES) as w:
        w.homeserver.failing_rooms.add(w.homeserver.room(0))
        await w.processor.recheck(ALICE)
        assert await w.processor.recheck(ALICE) is SETTLED
        assert told(w)[-1] == (Part.MESSAGES, RemovalResult.FAILED, 3)
        assert w.account()["erased"]


async def test_redactions_that_always_fail_are_given_up_and_told() -> None:
    async with erased(MESSAGES) as w:
        w.homeserver.failing_redactions = 99
        ends = [await w.processor.recheck(ALICE) for _ in range(ROUNDS + 1)]
        assert ends == [RUNNING] * ROUNDS + [SETTLED]
        assert told(w)[-1][:2] == (Part.MESSAGES, RemovalResult.FAILED)
        traces = w.state.record(ALICE).traces
        assert traces is not None
        assert traces.messages is Progress.FAILED


async def test_a_redaction_by_a_moderator_is_waited_for() -> None:
    """Synapse runs one for a user at a time; the moderator's may leave rooms out."""
    async with erased(MESSAGES) as w:
        w.homeserver.redaction_looks = 2
        await w.client.redact(w.homeserver.mxid(ALICE), [])
        assert await w.processor.recheck(ALICE) is RUNNING
        assert told(w)[-1][:2] == (Part.MESSAGES, RemovalResult.WAITS)
        while await w.processor.recheck(ALICE) is not SETTLED:
            pass
        assert left(w)[0] == 0


async def test_a_synapse_that_can_not_list_the_rooms_is_told_at_once() -> None:
    async with erased() as w:
        w.homeserver.without_memberships = True
        assert await w.processor.recheck(ALICE) is SETTLED
        assert told(w) == [(Part.MESSAGES, RemovalResult.FAILED, 0), (Part.MEDIA, RemovalResult.DONE, 2)]
        assert "M_UNRECOGNIZED" in w.removals[0].detail


async def test_what_is_left_is_removed_although_another_process_made_the_call() -> None:
    """It died, or was frozen, before it saved that; the next process sees an erased account."""
    async with world(ALICE, removes=BOTH) as w:
        w.homeserver.say(w.homeserver.mxid(ALICE))
        rival = {ALICE: UserState(Status.ERASED)}
        w.state.rivals = [{}, rival]  # another process saves between our call and our confirmation
        assert await w.process(deletion(second=1, soft=False)) in ([Outcome.APPLIED], [Outcome.UNCHANGED])
        while await w.processor.recheck(ALICE) is not SETTLED:
            pass
        assert left(w)[0] == 0


async def test_an_outage_loses_nothing() -> None:
    async with erased() as w:
        w.homeserver.down = True
        with pytest.raises(TryAgain):
            await w.processor.recheck(ALICE)
        w.homeserver.down = False
        w.health.failure = None
        while await w.processor.recheck(ALICE) is not SETTLED:
            pass
        assert left(w) == (0, 0)


async def test_files_are_deleted_over_several_pages() -> None:
    async with erased(MEDIA, files=250) as w:
        assert await w.processor.recheck(ALICE) is SETTLED
        assert left(w)[1] == 0
        assert told(w) == [(Part.MEDIA, RemovalResult.DONE, 250)]


async def test_what_a_moderator_has_quarantined_stays() -> None:
    """It is evidence; no one may delete it on the user's behalf."""
    async with erased(MEDIA, files=2 + AT_ONCE) as w:
        w.homeserver.uploads[next(iter(w.homeserver.uploads))]["quarantined_by"] = "@moderator:test.example"
        assert await w.processor.recheck(ALICE) is SETTLED
        assert left(w)[1] == 1


async def test_files_that_can_not_be_deleted_are_told() -> None:
    async with erased(MEDIA, files=1) as w:
        w.homeserver.undeletable = True
        ends = [await w.processor.recheck(ALICE) for _ in range(ROUNDS)]
        assert ends == [RUNNING] * (ROUNDS - 1) + [SETTLED]
        assert told(w)[-1] == (Part.MEDIA, RemovalResult.FAILED, 0)


async def test_nothing_is_removed_before_the_account_has_left_its_rooms() -> None:
    """It is deactivated again first."""
    async with erased(MESSAGES) as w:
        w.homeserver.rooms[w.homeserver.mxid(ALICE)] = 2
        assert await w.processor.recheck(ALICE) is CHANGED
        assert (left(w)[0], len(w.homeserver.calls("POST"))) == (3, 2)
        assert await w.processor.recheck(ALICE) is RUNNING
        assert left(w)[0] == 0


async def test_what_has_not_ended_for_days_counts_as_failed() -> None:
    """Its user would be looked at without end."""
    async with erased(MESSAGES) as w:
        w.homeserver.redaction_looks = 10**6
        assert await w.processor.recheck(ALICE) is RUNNING
        assert await w.processor.work_is_left(ALICE)
        w.clock.now += TIME_LIMIT
        assert not await w.processor.work_is_left(ALICE)
        assert await w.processor.recheck(ALICE) is SETTLED
        assert told(w)[-1][:2] == (Part.MESSAGES, RemovalResult.FAILED)


async def test_an_account_that_is_used_again_is_cleaned_again_after_its_second_erasure() -> None:
    """Another client has reactivated it."""
    async with erased() as w:
        while await w.processor.recheck(ALICE) is not SETTLED:
            pass
        w.account().update(deactivated=False, erased=False)
        w.homeserver.say(w.homeserver.mxid(ALICE), 2)
        assert await w.processor.recheck(ALICE) is CHANGED
        while await w.processor.recheck(ALICE) is not SETTLED:
            pass
        assert left(w) == (0, 0)


async def test_a_deletion_that_comes_again_removes_nothing_twice() -> None:
    """Redelivered by Kafka, or replayed."""
    async with erased() as w:
        while await w.processor.recheck(ALICE) is not SETTLED:
            pass
        calls = len(w.homeserver.calls())
        await w.process(deletion(second=1, soft=False))
        assert len(w.homeserver.calls()) == calls


async def test_a_user_without_an_account_leaves_nothing() -> None:
    async with world(removes=BOTH) as w:
        assert await w.process(deletion(second=1, soft=False)) == [Outcome.NO_ACCOUNT]
        assert await w.processor.recheck(ALICE) is SETTLED
        assert w.state.record(ALICE).traces is None


async def test_the_record_of_an_erased_user_has_no_personal_data() -> None:
    async with world(ALICE, removes=BOTH) as w:
        w.homeserver.say(w.homeserver.mxid(ALICE))
        await w.one_by_one([profile(second=1, display_name="Ada Lovelace"), deletion(second=2, soft=False)])
        w.clock.now += timedelta(minutes=2)
        await w.processor.recheck(ALICE)
        stored = w.state.stored_bytes(ALICE)
        assert b"redaction0" in stored
        assert b"Lovelace" not in stored
