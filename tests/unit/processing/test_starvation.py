"""A user that is slow, or can't be processed, delays no other user for longer than its own calls take."""

import asyncio
import uuid
from collections.abc import Iterable

import pytest
from starlette.responses import Response

from function.accounts.recheck_loop import Checked
from function.accounts.recheck_queue import RecheckQueue, key_of
from function.accounts.user_state import UserState
from function.dapr.state_store import Value
from function.outcomes import Outcome, Reason, TryAgain
from function.processing.admission import FIRST
from function.processing.deletion_limit import KEY
from tests.support.events import ALICE, BOB, EPOCH, deletion, profile
from tests.support.fake_dapr import FakeStateStore
from tests.support.harness import Harness, world
from tests.support.virtual_time import run

pytestmark = pytest.mark.anyio

OTHERS = [str(uuid.UUID(int=number, version=4)) for number in range(1, FIRST)]


def hanging(w: Harness, user_id: str) -> tuple[asyncio.Event, asyncio.Event]:
    """Lets each call about the user hang; returns an event that says so, and another that ends the hanging."""
    hangs, go_on = asyncio.Event(), asyncio.Event()

    async def before(_method: str, path: str) -> None:
        if user_id in path:
            hangs.set()
            await go_on.wait()

    w.homeserver.before = before
    return hangs, go_on


async def until_named(w: Harness, user_ids: list[str], name: str) -> None:
    for _ in range(10_000):
        if all(w.account(one)["displayname"] == name for one in user_ids):
            return
        await asyncio.sleep(0)


async def test_one_user_that_hangs_keeps_no_other_batch_from_beginning() -> None:
    """The places of the users of its group that have ended are free."""
    async with world(ALICE, BOB, *OTHERS) as w:
        hangs, go_on = hanging(w, ALICE)
        first = asyncio.create_task(w.process(profile(ALICE, 1), *(profile(one, 1) for one in OTHERS)))
        await hangs.wait()
        await until_named(w, OTHERS, "Alice Example")
        second = asyncio.create_task(w.process(deletion(BOB, 1)))
        done, _ = await asyncio.wait([second], timeout=2)
        go_on.set()
        await first
        assert done, "Bob's deletion waits until Alice's call ends"
        assert await second == [Outcome.APPLIED]


async def test_a_recheck_that_hangs_delays_its_user_only() -> None:
    """Bob's event is in a batch with one of Alice's, whose recheck hangs."""
    async with world(ALICE, BOB) as w:
        await w.process(profile(ALICE, 1))
        hangs, go_on = hanging(w, ALICE)
        recheck = asyncio.create_task(w.processor.recheck(ALICE))
        await hangs.wait()
        batch = asyncio.create_task(w.process(profile(ALICE, 2, display_name="New"), deletion(BOB, 1)))
        for _ in range(500):
            await asyncio.sleep(0)
        gone = w.account(BOB)["deactivated"]
        go_on.set()
        await asyncio.gather(recheck, batch)
        assert gone is True


async def test_rechecks_that_can_not_be_read_delay_only_the_users_under_their_key() -> None:
    """A value of a later version, or a broken one, under one of 64 keys."""
    async with world(ALICE, BOB) as w:
        w.rechecks = RecheckQueue(w.state, w.clock)  # type: ignore[assignment]
        w.restart()
        await w.process(profile(ALICE, 1))
        w.state._put({key_of(ALICE): b'{"v":2}'})
        assert key_of(ALICE) != key_of(BOB)
        assert await w.process(deletion(ALICE, 2), profile(BOB, 2)) == [Outcome.RETRY, Outcome.APPLIED]


async def test_an_account_whose_state_can_not_be_written_delays_only_its_user() -> None:
    """Its name, as the homeserver answers it, has no bytes."""
    async with world(ALICE, BOB) as w:
        mxid = w.homeserver.mxid(ALICE)

        def odd(method: str, path: str) -> Response | None:
            if method == "GET" and path.endswith(mxid):
                return Response(b'{"name":"%s","deactivated":true,"displayname":"\\ud800"}' % mxid.encode(), 200)
            return None

        w.homeserver.intercepts = odd
        fates = await w.process(profile(ALICE, 1), profile(BOB, 1))
        assert fates[1] is Outcome.APPLIED


async def test_a_conflict_on_one_user_leaves_the_others_concurrent() -> None:
    """With 1.5 s a call, one after the other would take minutes."""
    async with world(ALICE, *OTHERS) as w:
        w.state.rivals = [{ALICE: w.state.record(ALICE)}]
        inside = most = 0

        async def before(_method: str, path: str) -> None:
            nonlocal inside, most
            if "/@nova-" not in path:
                return
            inside += 1
            most = max(most, inside)
            for _ in range(20):
                await asyncio.sleep(0)
            inside -= 1

        w.homeserver.before = before
        await w.process(profile(ALICE, 1), *(profile(one, 1) for one in OTHERS))
        assert most > 1


async def test_a_state_with_an_unset_field_that_is_written_as_null_delays_no_other_user() -> None:
    """JSON of another writer; `known` may be null for pydantic, and is not for what reads the unknown fields."""
    async with world(ALICE, BOB) as w:
        w.state._put({ALICE: b'{"v":1,"claims":1,"status":"active","known":null,"claim":null}'})
        assert (await w.process(profile(ALICE, 1), profile(BOB, 1)))[1] is Outcome.APPLIED


class WithoutLimit(FakeStateStore):
    """A store that fails for the key of the deletion limit, each time after its deadline."""

    asked = 0

    async def read_values(self, wanted: Iterable[str]) -> dict[str, Value]:
        keys = list(wanted)
        if KEY in keys:
            self.asked += 1
            raise TryAgain(Reason.STATE_UNAVAILABLE, "DEADLINE_EXCEEDED")
        return await super().read_values(keys)


async def test_a_deletion_limit_that_can_not_be_read_is_not_asked_for_each_user() -> None:
    """With 10 s for each, the users' locks and places are held for minutes."""
    async with world(*OTHERS, deletions=100) as w:
        w.state = store = WithoutLimit()
        w.restart()
        assert set(await w.process(*(deletion(one, 1) for one in OTHERS))) == {Outcome.RETRY}
        assert store.asked <= 2


async def test_a_recheck_that_settles_its_doubt_is_done_although_an_image_is_refused() -> None:
    """Else it is repeated five times, and dropped with an error in the log."""
    async with world(ALICE) as w:
        await w.process(profile(ALICE, 1, avatar_url="https://elsewhere.example/a.png"))
        assert await w.processor.recheck(ALICE) is Checked.SETTLED


def test_a_user_whose_calls_have_ended_is_confirmed_while_another_of_its_group_hangs() -> None:
    """Else a kill, a shutdown or a lost save makes all of them wait for the claim, be looked at, and checked again."""

    async def main() -> None:
        async with world(ALICE, BOB) as w:
            hangs, go_on = hanging(w, ALICE)
            batch = asyncio.create_task(w.process(profile(ALICE, 1), deletion(BOB, 1)))
            await hangs.wait()
            await asyncio.sleep(8)  # virtual; Alice's request has 10 s
            claim = w.state.record(BOB).claim
            go_on.set()
            await batch
            assert claim is None

    run(main())


async def test_a_user_that_was_taken_over_starts_over_after_the_others_were_confirmed() -> None:
    """Its calls may take as long as the others' claims last."""
    async with world(ALICE, BOB) as w:
        w.state.rivals = [{}, {ALICE: UserState(display_name="Rival", profile_at=EPOCH)}]
        hangs, go_on = asyncio.Event(), asyncio.Event()

        async def before(_method: str, path: str) -> None:
            if ALICE in path and w.state.conflicts:
                hangs.set()
                await go_on.wait()

        w.homeserver.before = before
        batch = asyncio.create_task(w.process(profile(ALICE, 1), profile(BOB, 1)))
        await hangs.wait()
        for _ in range(500):
            await asyncio.sleep(0)
        claim = w.state.record(BOB).claim
        go_on.set()
        await batch
        assert claim is None
