"""The audit of a list of users, instead of Synapse's lists."""

import pytest

from function.accounts.user_state import Status, UserState
from function.accounts.user_store import Versioned
from function.audit.drift import Kind
from function.audit.findings import Cursor, Drift, Listing, Options
from function.audit.users import UserList, WrongLine
from tests.support.audits import audited, homeserver_state, make_audit, user, user_list, walk_all, writes
from tests.support.drift_scenarios import MADE, world_of
from tests.support.events import ALICE, BOB, CAROL, deletion, delivered, moment, profile
from tests.support.harness import world

pytestmark = pytest.mark.anyio

OF_ACCOUNTS = [kind for kind in Kind if kind in Options().kinds - {Kind.ORPHANED_MEDIA}]


@pytest.mark.parametrize("kind", OF_ACCOUNTS)
async def test_each_kind_of_an_account_is_found_and_nothing_is_written(kind: Kind) -> None:
    async with world_of(kind) as w:
        await MADE[kind](w)
        before, record = homeserver_state(w), w.state.record(ALICE)
        w.homeserver.requests.clear()
        [drift] = await audited(w, users=user_list(ALICE))
        assert (drift.kind, drift.user_id, drift.repaired) == (kind, ALICE, None)
        assert (homeserver_state(w), w.state.record(ALICE), writes(w)) == (before, record, [])
        assert not any(path.endswith(("/v2/users", "/media")) for _, path in w.homeserver.requests)


@pytest.mark.parametrize("kind", OF_ACCOUNTS)
async def test_each_kind_of_an_account_is_repaired(kind: Kind) -> None:
    async with world_of(kind) as w:
        await MADE[kind](w)
        assert [drift.repaired for drift in await audited(w, repair=True, users=user_list(ALICE))] == [True]
        assert await audited(w, users=user_list(ALICE)) == []


async def test_an_account_that_a_created_event_asked_for_is_created_again() -> None:
    async with world() as w:
        payload = {"user_id": ALICE, "username": "ally", "created_at": moment(), "email": "a@example.org"}
        await w.process(delivered(payload, "identity.user.created"))
        del w.homeserver.accounts[w.homeserver.mxid(ALICE)]
        w.homeserver.identities.clear()
        assert [drift.kind for drift in await audited(w, repair=True, users=user_list(ALICE))] == [Kind.MISSING]
        assert w.account()["name"] == w.homeserver.mxid(ALICE)


async def test_a_missing_account_is_not_written_to_by_the_next_event_after_the_repair() -> None:
    """Synapse answers 200 to a name for an id without an account, and its user can then never log in."""
    async with world() as w:
        await MADE[Kind.MISSING](w)
        await audited(w, repair=True, users=user_list(ALICE))
        await w.process(profile(second=5, display_name="Ada"))
        assert w.homeserver.poisoned == set()


async def test_users_without_an_account_are_no_drift() -> None:
    """Before the first login, and after a deletion there may be none; without a record nothing is known."""
    async with world() as w:
        await w.process(profile(ALICE, display_name="Ada"))
        await w.process(deletion(BOB))
        audit = make_audit(w, users=user_list(ALICE, BOB, CAROL))
        await walk_all(audit)
        assert (audit.summary.found.total(), audit.summary.accounts, audit.summary.no_record) == (0, 3, 1)


async def test_a_user_costs_one_call_and_one_without_a_record_none() -> None:
    async with world(ALICE, BOB) as w:
        await w.process(profile(ALICE, display_name="Ada"))
        w.homeserver.requests.clear()
        assert await audited(w, users=user_list(ALICE, BOB)) == []
        assert [path.rsplit("/", 1)[1] for _, path in w.homeserver.requests] == [w.homeserver.mxid(ALICE)]


async def test_a_list_goes_on_at_its_line() -> None:
    users = [user(n) for n in range(7)]
    async with world(*users) as w:
        await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name="Ada")) for one in users})
        found: list[Drift] = []
        cursor: Cursor | None = None
        ends = []
        for _ in range(3):
            audit = make_audit(w, Options(limit=3), cursor=cursor, report=found.append, users=user_list(*users))
            await walk_all(audit)
            cursor = audit.cursor
            ends.append(str(cursor))
        assert [drift.user_id for drift in found] == users
        assert ends == ["users:3", "users:6", "None"]


async def test_a_user_who_is_listed_twice_is_repaired_once() -> None:
    async with world(ALICE) as w:
        await MADE[Kind.DISPLAY_NAME](w)
        await audited(w, repair=True, users=user_list(ALICE, ALICE))
        assert [method for method, path in writes(w) if "displayname" in path].count("PUT") == 2  # the event's and this


def test_a_list_is_read_in_order_and_in_lower_case() -> None:
    """Spaces and Windows' line ends do no harm."""
    found = UserList.read([f"{user(1)}\r\n".encode(), f" {ALICE.upper()} \n".encode(), user(2).encode()])
    assert (len(found), found.part(0, 2), found.part(2, 9)) == (3, [user(1), ALICE], [user(2)])


@pytest.mark.parametrize("line", [b"", b"\n", b"nova-" + ALICE.encode(), b"\xff\xfe", ALICE.replace("-", "").encode()])
def test_a_wrong_line_is_named_and_not_repeated(line: bytes) -> None:
    with pytest.raises(
        WrongLine, match=r"^line 2: expected a user's UUID and nothing else, such as b27a522a"
    ) as caught:
        UserList.read([ALICE.encode(), line])
    assert ALICE not in str(caught.value)


def test_the_cursor_of_a_list_is_its_line() -> None:
    assert Cursor.read("users:1500") == Cursor(Listing.USERS, 1500)
