"""Learning the accounts before the first events: what it spares, and that it changes no outcome."""

from collections.abc import Sequence
from copy import deepcopy

import pytest

from function.accounts.user_state import Status, UserState
from function.accounts.user_store import Versioned
from function.audit.drift import Kind
from function.audit.pages import FIRST_PAGE
from function.audit.warm_up import Learned, WarmUp
from function.kafka.record import KafkaRecord
from function.outcomes import Outcome, Reason, TryAgain
from tests.support.audits import audited, user, writes
from tests.support.events import ALICE, created, deletion, password, profile
from tests.support.harness import Harness, world

pytestmark = pytest.mark.anyio

FACE, IMAGE = "mxc://test.example/face", "https://cdn.example/face.png"


async def warmed(w: Harness) -> Learned:
    warm_up = WarmUp(w.client, w.users)
    await warm_up.walk(lambda _count, _total: None)
    return warm_up.counts


async def test_an_event_that_changes_nothing_costs_no_call_from_the_first_on() -> None:
    async with world(ALICE) as w:
        w.account().update(displayname="Ada", avatar_url=FACE)
        assert await warmed(w) == Learned(accounts=1, learned=1)
        w.homeserver.requests.clear()
        assert await w.process(profile(second=1, display_name="Ada", avatar_url=FACE)) == [Outcome.UNCHANGED]
        assert w.homeserver.requests == []


async def test_a_page_of_accounts_is_one_call_and_synapse_is_not_changed() -> None:
    users = [user(n) for n in range(FIRST_PAGE + 10)]
    async with world(*users) as w:
        before = deepcopy(w.homeserver.accounts)
        w.homeserver.requests.clear()
        assert await warmed(w) == Learned(accounts=len(users), learned=len(users))
        assert len(w.homeserver.requests) == 2
        assert writes(w) == []
        assert w.homeserver.accounts == before


@pytest.mark.parametrize(
    "events",
    [
        [profile(second=1, display_name="Grace")],
        [profile(second=1, display_name="Ada", avatar_url=FACE), profile(second=2, display_name="Grace")],
        [profile(second=1, avatar_url=IMAGE)],
        [deletion(second=1)],
        [deletion(second=1, soft=False)],
        [deletion(second=1), profile(second=2, display_name="Grace")],
        [created(second=1)],
        [created(second=1), profile(second=2, display_name="Grace"), deletion(second=3, soft=False)],
        [password(second=1)],
        [password(second=1), profile(second=2, display_name="Ada")],
    ],
)
@pytest.mark.parametrize("changed", [{}, {"deactivated": True}, {"displayname": "Mallory"}])
async def test_what_was_learned_leads_to_the_same_account_as_reading_it(
    events: Sequence[KafkaRecord], changed: dict[str, object]
) -> None:
    """Also where another client changed the account since."""
    ended = []
    for learns in (False, True):
        async with world(ALICE) as w:
            w.account().update(displayname="Ada", avatar_url=FACE)
            w.avatars.images[IMAGE] = b"image"
            if learns:
                await warmed(w)
            w.account().update(changed)
            await w.one_by_one(events)
            account = dict(w.account())
            account["avatar_url"] = w.homeserver.media.get(str(account["avatar_url"]), account["avatar_url"])
            ended.append((account, w.state.record(ALICE).status))
    assert ended[0] == ended[1]


async def test_a_name_that_another_program_sets_afterwards_is_drift_that_an_audit_finds() -> None:
    """Therefore the old consumer has stopped before."""
    async with world(ALICE) as w:
        w.account()["displayname"] = "Ada"
        await warmed(w)
        w.account()["displayname"] = "Mallory"
        assert await w.process(profile(second=1, display_name="Ada")) == [Outcome.UNCHANGED]
        assert w.account()["displayname"] == "Mallory"
        assert [drift.kind for drift in await audited(w)] == [Kind.DISPLAY_NAME]


async def test_a_record_that_is_there_stays() -> None:
    async with world(ALICE, user(1)) as w:
        await w.users.write({ALICE: Versioned(UserState(Status.ERASED))})
        kept = w.state.stored_bytes(ALICE)
        assert await warmed(w) == Learned(accounts=2, learned=1, known=1)
        assert w.state.stored_bytes(ALICE) == kept


async def test_a_record_that_this_release_cannot_read_stays() -> None:
    async with world(ALICE) as w:
        w.state._put({ALICE: b'{"v":99}'})
        assert await warmed(w) == Learned(accounts=1, known=1)
        assert w.state.stored_bytes(ALICE) == b'{"v":99}'


async def test_what_the_function_writes_meanwhile_stays_and_the_others_are_learned() -> None:
    users = [user(n) for n in range(7)]
    async with world(*users) as w:
        w.state.rivals = [{users[3]: UserState(Status.DEACTIVATED)}]
        assert await warmed(w) == Learned(accounts=7, learned=6, known=1)
        assert w.state.record(users[3]).status is Status.DEACTIVATED
        assert all(w.state.record(one).known for one in users if one != users[3])


async def test_accounts_that_are_deactivated_or_erased_are_left_to_their_events() -> None:
    async with world(ALICE, user(1), user(2)) as w:
        w.account(user(1))["deactivated"] = True
        w.account(user(2)).update(deactivated=True, erased=True)
        assert await warmed(w) == Learned(accounts=3, learned=1, left_out=2)
        assert w.state.record(user(1)) == UserState()


async def test_another_run_goes_on_where_one_ended() -> None:
    users = [user(n) for n in range(250)]
    async with world(*users) as w:
        w.state.sparing, w.state.losing = 1, 1
        with pytest.raises(TryAgain) as caught:
            await warmed(w)
        assert caught.value.reason is Reason.STATE_UNAVAILABLE
        assert await warmed(w) == Learned(accounts=250, learned=150, known=100)


async def test_what_was_learned_is_no_drift() -> None:
    async with world(ALICE, user(1)) as w:
        await warmed(w)
        w.account()["displayname"] = "a name of their own"
        assert await audited(w) == []
