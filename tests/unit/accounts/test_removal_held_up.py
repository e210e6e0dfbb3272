"""The removal of what an erased user left goes on, and ends, whatever else of the user does not."""

from datetime import timedelta

import pytest

from function.accounts.recheck_loop import Checked
from function.accounts.traces import Part, Progress
from function.outcomes import TryAgain
from tests.support.events import ALICE, deletion
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
    return traces and traces.messages


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
