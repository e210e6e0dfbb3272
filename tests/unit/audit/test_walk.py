"""The walk of an audit: pages, cursors, limits, and how it stops."""

import json
from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest

from function.accounts.user_state import Status, UserState
from function.accounts.user_store import Versioned
from function.audit.drift import Kind
from function.audit.findings import Cursor, Drift, Listing, Options
from function.audit.pages import FIRST_PAGE
from function.audit.repair import Unrepaired
from function.audit.scan import Audit
from function.outcomes import Reason
from tests.support.audits import audited, make_audit, repairer_of, user, walk_all, writes
from tests.support.drift_scenarios import MADE
from tests.support.events import ALICE
from tests.support.harness import Harness, world

pytestmark = pytest.mark.anyio


async def named(w: Harness, *users: str) -> None:
    """Gives each user a record whose name the account has not: all of them drift."""
    await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name="Ada")) for one in users})


async def test_a_page_costs_one_call_and_one_read() -> None:
    """However many accounts it has."""
    users = [user(n) for n in range(FIRST_PAGE + 10)]
    async with world(*users) as w:
        await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name=f"nova-{one}")) for one in users})
        w.homeserver.requests.clear()
        w.state.reads = 0
        seen: list[tuple[int, int | None]] = []
        audit = make_audit(w)
        await audit.walk(lambda count, total: seen.append((count, total)))
        assert (len(w.homeserver.requests), w.state.reads) == (2, 2)
        assert seen == [(FIRST_PAGE, FIRST_PAGE + 10), (10, FIRST_PAGE + 10)]
        assert (audit.summary.accounts, audit.cursor) == (FIRST_PAGE + 10, Cursor(Listing.MEDIA))


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_an_audit_with_a_limit_ends_where_the_next_one_starts(limit: int) -> None:
    """Each drift is found exactly once."""
    users = [user(n) for n in range(12)]
    async with world(*users) as w:
        await named(w, *users)
        for number in range(3):
            await w.client.upload(b"face", "image/png", user(number))
        found: list[Drift] = []
        cursor: Cursor | None = Options().start
        rounds = 0
        while cursor:
            audit = make_audit(
                w, Options(limit=limit, media_age=timedelta(0)), cursor=Cursor.read(str(cursor)), report=found.append
            )
            while not audit.finished:
                await audit.walk(lambda _count, _total: None)
            cursor, rounds = audit.cursor, rounds + 1
        assert [drift.user_id for drift in found] == users + users[:3]
        assert rounds >= 15 // limit


async def test_an_audit_that_was_stopped_while_repairing_continues_with_the_next_account() -> None:
    """The current repair is finished; no account is skipped and none is checked twice."""
    users = [user(n) for n in range(6)]
    async with world(*users) as w:
        await named(w, *users)
        found: list[Drift] = []

        async def stops(method: str, path: str) -> None:
            if method == "PUT" and user(1) in path:
                audit.stop()

        w.homeserver.before = stops
        audit = make_audit(w, repair=True, report=found.append)
        await walk_all(audit)
        assert [(drift.user_id, drift.repaired) for drift in found] == [(user(0), True), (user(1), True)]
        assert w.state.record(user(1)).claim is None
        assert (audit.stopped, audit.summary.accounts, str(audit.cursor)[:11]) == (True, 2, "accounts:2:")
        w.homeserver.before = None
        rest = await audited(w, repair=True, cursor=Cursor.read(str(audit.cursor)))
        assert [drift.user_id for drift in rest] == users[2:]


async def test_a_stop_abandons_a_page_at_once() -> None:
    """Synapse may take minutes for it. Nothing was written, and the cursor is where it was."""
    async with world(*(user(n) for n in range(3))) as w:

        async def hangs(_method: str, _path: str) -> None:
            audit.stop()
            await anyio.sleep_forever()

        w.homeserver.before = hangs
        audit = make_audit(w, repair=True)
        with anyio.fail_after(5):
            await walk_all(audit)
        assert (str(audit.cursor), audit.summary.rows, writes(w)) == ("accounts:0", 0, [])


async def test_a_stop_abandons_checks_at_once() -> None:
    """One call for each deleted user: a page of them can take minutes."""
    users = [user(n) for n in range(20)]
    async with world(*users) as w:
        await w.users.write({one: Versioned(UserState(Status.DEACTIVATED)) for one in users})
        for one in users:
            w.account(one)["deactivated"] = True
        asked: list[str] = []

        async def hangs(_method: str, path: str) -> None:
            if path.endswith("/joined_rooms"):
                asked.append(path)
                if len(asked) == 4:
                    audit.stop()
                await anyio.sleep_forever()

        w.homeserver.before = hangs
        audit = make_audit(w)
        with anyio.fail_after(5):
            await walk_all(audit)
        assert (str(audit.cursor), audit.stopped) == ("accounts:0", True)


async def test_no_image_is_skipped_after_a_deletion() -> None:
    """A deletion shifts the offsets of the images after it."""
    async with world(*(user(n) for n in range(9))) as w:
        for number in range(9):
            await w.client.upload(b"face", "image/png", user(number))
        found: list[Drift] = []
        cursor: Cursor | None = Cursor(Listing.MEDIA)
        while cursor:
            audit = make_audit(
                w, Options(limit=2, media_age=timedelta(0)), repair=True, cursor=cursor, report=found.append
            )
            await audit.walk(lambda _count, _total: None)
            cursor = audit.cursor
        assert (len(found), w.homeserver.media) == (9, {})


# --- the limit of repairs


@pytest.mark.parametrize("repair", [True, False])
async def test_the_limit_of_repairs_ends_the_audit_before_the_next_one(repair: bool) -> None:
    """The cursor leads on; a dry run counts what would be repaired."""
    users = [user(n) for n in range(7)]
    async with world(*users) as w:
        await named(w, *users[1:])
        found: list[Drift] = []
        cursor: Cursor | None = None
        rounds = []
        for _ in range(3):
            audit = make_audit(w, Options(max_repairs=2), repair=repair, cursor=cursor, report=found.append)
            await walk_all(audit)
            cursor = Cursor.read(str(audit.cursor)) if audit.cursor else None
            rounds.append((audit.capped, audit.summary.not_attempted, audit.summary.accounts))
        assert [drift.user_id for drift in found] == users[1:]
        assert rounds == [(True, 4, 3), (True, 2, 2), (False, 0, 2)]
        assert cursor is None


async def test_drift_that_cannot_be_repaired_does_not_hold_up_the_next_run() -> None:
    """It counts as a repair, and the cursor is after it."""
    users = [user(n) for n in range(4)]
    async with world(*users) as w:
        await named(w, *users)
        w.homeserver.refused_names.add("Ada")
        audit = make_audit(w, Options(max_repairs=3), repair=True)
        await walk_all(audit)
        assert (audit.capped, audit.summary.left, audit.summary.not_attempted) == (True, 3, 1)
        assert [drift.user_id for drift in await audited(w, cursor=audit.cursor)] == users[3:]


async def test_a_limit_of_repairs_that_is_just_enough_ends_nothing() -> None:
    async with world(*(users := [user(n) for n in range(3)])) as w:
        await named(w, *users)
        audit = make_audit(w, Options(max_repairs=3), repair=True)
        await walk_all(audit)
        assert (audit.capped, audit.cursor, audit.summary.repaired.total()) == (False, None, 3)


# --- the rate


async def test_a_rate_limits_the_repairs() -> None:
    """Ten per second: the third starts after a fifth of a second."""
    async with world(*(users := [user(n) for n in range(3)])) as w:
        await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name="Ada")) for one in users})
        start = anyio.current_time()
        repairer = repairer_of(w, rate=10)
        for one in users:
            await repairer.wait_for_rate()
            await repairer.account(one, frozenset({Kind.DISPLAY_NAME}))
        assert anyio.current_time() - start >= 0.19


async def test_a_stop_ends_the_wait_for_the_rate_limit() -> None:
    """Otherwise a rate of one per day would delay the end after Ctrl-C by a day."""
    async with world(*(users := [user(n) for n in range(3)])) as w:
        await named(w, *users)
        repairer = repairer_of(w, rate=1 / 86_400)
        audit = Audit(w.client, w.homeserver.service_user, w.users, repairer, Options(), lambda _: None, None, w.clock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(walk_all, audit)
            with anyio.fail_after(5):
                while not audit.summary.repaired.total():
                    await anyio.lowlevel.checkpoint()
                await anyio.wait_all_tasks_blocked()
                audit.stop()
        assert (audit.summary.repaired.total(), str(audit.cursor)[:11]) == (1, "accounts:1:")


async def test_an_account_whose_record_was_deleted_is_not_repaired() -> None:
    """An account without a record is never changed."""
    async with world(ALICE) as w:
        left = await repairer_of(w).account(ALICE, frozenset({Kind.DISPLAY_NAME}))
        assert left == Unrepaired(frozenset({Kind.DISPLAY_NAME}), Reason.CONFLICT)
        assert writes(w) == []


@pytest.mark.parametrize(
    "text",
    ["", "accounts", "accounts:", "accounts:-1", "rooms:1", "accounts:1x", "media:1e3", "media:1:2", "media:1:2:x"],
)
def test_an_invalid_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^.*$"):
        Cursor.read(text)


async def test_a_reported_drift_has_no_personal_data() -> None:
    """Only the user id and the kind, no names."""
    async with world() as w:
        await MADE[Kind.PERSONAL_DATA](w)
        await MADE[Kind.DISPLAY_NAME](w)
        [drift] = await audited(w)
        assert "Alice" not in json.dumps(str(drift))
