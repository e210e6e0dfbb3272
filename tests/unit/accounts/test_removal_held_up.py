"""The removal of what an erased user left goes on, and ends, whatever else of the user does not."""

from datetime import timedelta

import pytest
from starlette.responses import JSONResponse, Response

from function.accounts.recheck_loop import Checked
from function.accounts.traces import TIME_LIMIT, Part, Progress, RemovalResult
from function.outcomes import TryAgain
from tests.support.events import ALICE, deletion, profile
from tests.support.fake_dapr import FakeResults
from tests.support.harness import Harness, world

pytestmark = pytest.mark.anyio

BOTH = frozenset(Part)
LATER = timedelta(minutes=10)


async def erase(w: Harness) -> None:
    w.homeserver.say(w.homeserver.mxid(ALICE), 3)
    await w.process(deletion(second=1, offset=1, soft=False))
    assert w.account()["erased"]


def readable(w: Harness) -> int:
    return w.homeserver.readable(w.homeserver.mxid(ALICE))


def messages(w: Harness) -> Progress | None:
    traces = w.state.record(ALICE).traces
    return traces.messages if traces else None


async def test_a_room_that_can_not_be_left_does_not_keep_the_messages() -> None:
    """Synapse skips it, and says of each deactivation that it succeeded."""

    def stuck(method: str, path: str) -> Response | None:
        return (
            JSONResponse({"joined_rooms": ["!a:test.example"], "total": 1}) if path.endswith("joined_rooms") else None
        )

    async with world(ALICE, removes=BOTH) as w:
        w.homeserver.intercepts = stuck
        await erase(w)
        for _ in range(12):
            w.clock.now += LATER
            await w.processor.recheck(ALICE)
        assert (readable(w), messages(w)) == (0, Progress.DONE)
        assert not await w.processor.work_is_left(ALICE)


async def test_a_copy_that_can_not_be_deleted_does_not_keep_the_messages() -> None:
    async with world(ALICE, removes=frozenset({Part.MESSAGES})) as w:
        w.avatars.images["https://cdn.example/a.png"] = b"\x89PNG\r\n\x1a\n"
        await w.process(profile(avatar_url="https://cdn.example/a.png"))
        w.homeserver.undeletable = True
        await erase(w)
        assert w.state.record(ALICE).uploads
        while await w.processor.recheck(ALICE) is Checked.RUNNING:
            w.clock.now += LATER
            assert w.removals, "begun with the first look"
        assert (readable(w), messages(w)) == (0, Progress.DONE)


async def test_what_is_written_after_a_redaction_began_is_redacted_after_the_next_erasure() -> None:
    """Another client has reactivated the account while the redaction ran."""
    async with world(ALICE, removes=frozenset({Part.MESSAGES})) as w:
        await erase(w)
        w.homeserver.redaction_looks = 3
        assert await w.processor.recheck(ALICE) is Checked.RUNNING
        w.account().update(deactivated=False, erased=False)
        assert await w.processor.recheck(ALICE) is Checked.CHANGED
        while await w.processor.recheck(ALICE) is not Checked.SETTLED:
            pass
        assert len(w.homeserver.redactions) == 2
        assert w.removals[-1].result is RemovalResult.DONE


async def test_an_account_that_was_used_and_deactivated_elsewhere_is_cleaned_once_it_is_erased_again() -> None:
    """Reactivated and deactivated by another client, without erasure, between two looks."""
    async with world(ALICE, removes=BOTH) as w:
        await erase(w)
        while await w.processor.recheck(ALICE) is not Checked.SETTLED:
            pass
        w.homeserver.say(w.homeserver.mxid(ALICE), 2)
        w.account()["erased"] = False
        assert await w.processor.recheck(ALICE) is Checked.CHANGED
        while await w.processor.recheck(ALICE) is not Checked.SETTLED:
            pass
        assert readable(w) == 0


async def test_a_clock_that_was_set_back_ends_no_removal() -> None:
    async with world(ALICE, removes=BOTH) as w:
        right = w.clock.now
        w.clock.now += timedelta(days=30)
        await erase(w)
        w.clock.now = right
        assert await w.processor.work_is_left(ALICE)
        while await w.processor.recheck(ALICE) is not Checked.SETTLED:
            pass
        assert (readable(w), messages(w)) == (0, Progress.DONE)


async def test_a_removal_begun_by_a_clock_that_was_ahead_has_its_limit_all_the_same() -> None:
    async with world(ALICE, removes=frozenset({Part.MESSAGES})) as w:
        right = w.clock.now
        w.clock.now += timedelta(days=30)
        await erase(w)
        w.clock.now = right
        w.homeserver.redaction_looks = 10**6
        assert await w.processor.recheck(ALICE) is Checked.RUNNING
        w.clock.now += TIME_LIMIT
        assert await w.processor.recheck(ALICE) is Checked.SETTLED
        assert messages(w) is Progress.FAILED


async def test_of_a_state_that_can_not_be_read_no_work_is_known() -> None:
    """Its user would be looked at every minute without end, and no line would say so."""
    async with world(ALICE, removes=BOTH) as w:
        await erase(w)
        _, etag = (await w.state.read_values([ALICE]))[ALICE]
        await w.state.write_values({ALICE: (b'{"v":99}', etag)})
        with pytest.raises(TryAgain):
            await w.processor.recheck(ALICE)
        assert not await w.processor.work_is_left(ALICE)


async def test_evidence_of_an_erased_user_is_work_that_is_left() -> None:
    """No event comes for an erased user, and while Kafka takes nothing other users' looks succeed."""
    async with world(ALICE, removes=frozenset({Part.MEDIA})) as w:
        w.results = FakeResults()
        w.restart()
        await erase(w)
        w.results.down = True
        with pytest.raises(TryAgain, match="publish_failed"):
            await w.processor.recheck(ALICE)
        w.health.failure = None
        assert await w.processor.work_is_left(ALICE)
        w.results.down = False
        await w.processor.recheck(ALICE)
        assert w.results.told[-1] == (None, ("files_deleted",))
        assert not await w.processor.work_is_left(ALICE)


async def test_evidence_that_is_left_of_before_it_was_switched_off_is_not() -> None:
    async with world(ALICE, removes=frozenset({Part.MEDIA})) as w:
        w.results = FakeResults()
        w.restart()
        await erase(w)
        w.results.down = True
        with pytest.raises(TryAgain):
            await w.processor.recheck(ALICE)
        w.results, w.health.failure = None, None
        w.restart()
        assert not await w.processor.work_is_left(ALICE)
        assert await w.processor.recheck(ALICE) is Checked.SETTLED
