"""Nothing is believed of an account that is not known, and nothing is forgotten that has to be looked at again."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from starlette.responses import Response

from function.accounts.later_looks import CHECK_AFTER
from function.accounts.recheck_loop import Checked
from function.accounts.recheck_queue import MAX_ATTEMPTS, RecheckQueue
from function.accounts.updater import CLAIM
from function.accounts.user_state import LATE_EFFECT, UserState
from function.accounts.user_store import Versioned
from function.outcomes import Outcome
from function.processing.deletion_counts import load, taken
from function.processing.deletion_limit import KEY
from tests.support.events import ALICE, EPOCH, deletion, profile
from tests.support.harness import Harness, world

pytestmark = pytest.mark.anyio

FACE = "https://cdn.example/face.png"


def proxy_gives_up_once(w: Harness, method: str) -> None:
    """A proxy gives up the first request of the method about a user; Synapse may still carry it out."""
    left = [Response("<html>", 504)]

    def answer(verb: str, path: str) -> Response | None:
        return left.pop() if verb == method and "/@nova-" in path and left else None

    w.homeserver.intercepts = answer


async def test_a_first_try_that_may_still_be_carried_out_is_doubted_though_the_second_succeeded() -> None:
    """Its name may overwrite that of the next event; the later look sets it right."""
    async with world(ALICE) as w:
        proxy_gives_up_once(w, "PUT")
        assert await w.process(profile(ALICE, 1, display_name="Old")) == [Outcome.APPLIED]
        assert await w.process(profile(ALICE, 2, display_name="New")) == [Outcome.APPLIED]
        w.account()["displayname"] = "Old"  # the first try, late
        assert w.rechecks.due, "no one will look again"
        w.clock.now += LATE_EFFECT
        await w.processor.recheck(ALICE)
        assert w.account()["displayname"] == "New"


async def crash_before_confirm(w: Harness) -> None:
    """The next batch's claim is saved, its end is not; another process goes on once the claim has ended."""
    w.state.sparing, w.state.losing = 1, 1


async def taken_over(w: Harness) -> None:
    w.health.failure = None
    w.restart()
    w.clock.now += CLAIM


async def test_an_image_that_an_unconfirmed_claim_deleted_is_not_set_again() -> None:
    """The avatar is removed; the process dies before it confirms; the avatar is set again."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        await crash_before_confirm(w)
        removed = profile(second=2, avatar_url="")
        assert await w.process(removed) == [Outcome.RETRY]
        assert w.homeserver.media == {}
        await taken_over(w)
        await w.process(removed, profile(second=3, avatar_url=FACE))
        assert w.homeserver.media.get(str(w.account()["avatar_url"])) == b"face"


async def test_a_deletion_that_is_cut_off_while_it_runs_keeps_its_permit() -> None:
    """As at a shutdown: the account may be deactivated, and its redelivery asks for no other permit."""
    async with world(ALICE, deletions=100) as w:
        hangs = asyncio.Event()

        async def before(method: str, path: str) -> None:
            if method == "POST" and "deactivate" in path:
                w.account()["deactivated"] = True
                hangs.set()
                await asyncio.Event().wait()

        w.homeserver.before = before
        batch = asyncio.create_task(w.process(deletion(ALICE, 1)))
        await hangs.wait()
        batch.cancel()
        await asyncio.wait([batch])
        limit = w.processor._deletion_limit
        await limit.close()
        value, _ = (await w.state.read_values([KEY]))[KEY]
        assert taken(load(value, int(w.clock.now.timestamp() // 60))) == 1


async def test_a_deleted_user_is_looked_at_once_if_nothing_was_wrong() -> None:
    async with world(ALICE) as w:
        await w.one_by_one([profile(second=1, display_name="Ada"), deletion(second=2)])
        w.rechecks.due.clear()
        w.clock.now += CHECK_AFTER
        assert await w.processor.recheck(ALICE) is Checked.SETTLED
        assert w.rechecks.due == {}


async def test_a_doubt_from_a_clock_that_was_far_ahead_ends() -> None:
    """Else each event looks, and a recheck that is due later than a day is due at once, again and again."""
    async with world(ALICE) as w:
        ahead = UserState(doubt_until=w.clock.now + timedelta(days=400), written_at=w.clock.now + timedelta(days=400))
        await w.users.write({ALICE: Versioned(ahead)})
        await w.process(profile(second=1))
        w.rechecks.due.clear()
        w.clock.now += timedelta(hours=2)
        await w.processor.recheck(ALICE)
        assert w.rechecks.due == {}


async def test_an_account_seen_by_a_clock_that_was_ahead_is_read_before_an_image_is_written() -> None:
    """As before a name is written."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        stored = await w.users.read(ALICE)
        await w.users.write(
            {ALICE: replace(stored, state=replace(stored.state, seen_at=EPOCH + timedelta(minutes=50)))}
        )
        w.account().update(deactivated=True, erased=True, displayname=None, avatar_url=None)
        w.avatars.images[FACE] = b"changed"
        w.clock.now += timedelta(minutes=20)
        await w.process(profile(second=2, avatar_url=FACE))
        assert w.account()["avatar_url"] is None


async def test_a_deactivation_that_never_ends_is_not_repeated_for_ever() -> None:
    """Each recheck adds itself again, with no attempts: the queue would never give it up."""
    async with world(ALICE) as w:
        w.rechecks = queue = RecheckQueue(w.state, w.clock)  # type: ignore[assignment]
        w.restart()
        await w.process(deletion(second=1))
        w.account()["deactivated"] = False
        w.homeserver.intercepts = lambda _, path: Response("<html>", 504) if "/deactivate/" in path else None
        await queue.add({ALICE: w.clock.now})
        for _ in range(MAX_ATTEMPTS):
            w.clock.now += timedelta(hours=1)
            (one,) = await queue.due()
            assert await queue.take(one)
            assert await w.processor.recheck(ALICE) is Checked.CHANGED
            await queue.again(one, CHECK_AFTER)
        w.clock.now += timedelta(hours=1)
        assert await queue.due() == []
