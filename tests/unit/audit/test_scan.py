"""The audit finds and repairs each kind of drift and changes nothing else."""

import asyncio
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest
from hypothesis import given, settings

from function.accounts.plan import plan
from function.accounts.updater import ATTEMPTS, CHECK_AFTER
from function.accounts.user_state import Claim, Status, UserState
from function.accounts.user_store import Versioned, dump
from function.audit.drift import Kind
from function.audit.findings import Cursor, Drift, Listing, Options
from function.audit.repair import Repairer, Unrepaired
from function.audit.scan import PAGE, Audit
from function.homeserver.account import Account
from function.outcomes import Reason, TryAgain
from tests.support.drift_scenarios import MADE
from tests.support.events import ALICE, BOB, CAROL, deletion, profile
from tests.support.harness import Harness, world
from tests.support.strategies import ACCOUNTS, IMAGES, RECORDS

pytestmark = pytest.mark.anyio

KINDS = pytest.mark.parametrize("kind", list(Kind))


def user(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def repairer_of(w: Harness, rate: float = 0) -> Repairer:
    return Repairer(w.client, w.updater, rate)


def make_audit(
    w: Harness, options: Options | None = None, *, repair: bool = False, cursor: Cursor | None = None,
    report: Callable[[Drift], None] = lambda _: None,
) -> Audit:  # fmt: skip
    repairer = repairer_of(w) if repair else None
    return Audit(w.client, w.homeserver.service_user, w.users, repairer, options or Options(), report, cursor, w.clock)


async def audited(
    w: Harness, options: Options | None = None, *, repair: bool = False, cursor: Cursor | None = None
) -> list[Drift]:
    found: list[Drift] = []
    audit = make_audit(w, options, repair=repair, cursor=cursor, report=found.append)
    while not audit.finished:
        await audit.walk(lambda _count, _total: None)
    return found


def homeserver_state(w: Harness) -> dict[str, object]:
    return deepcopy({"accounts": w.homeserver.accounts, "media": w.homeserver.media, "rooms": w.homeserver.rooms})


def writes(w: Harness) -> list[tuple[str, str]]:
    return [(method, path) for method, path in w.homeserver.requests if method != "GET"]


# --- each kind


@KINDS
async def test_each_kind_is_found_and_nothing_is_written(kind: Kind) -> None:
    """Without --repair."""
    async with world() as w:
        await MADE[kind](w)
        before, record = homeserver_state(w), w.state.record(ALICE)
        w.homeserver.requests.clear()
        saved = w.state.writes
        [drift] = await audited(w)
        assert (drift.kind, drift.user_id, drift.repaired) == (kind, ALICE, None)
        assert homeserver_state(w) == before
        assert (writes(w), w.state.record(ALICE), w.state.writes) == ([], record, saved)


@KINDS
async def test_each_kind_is_repaired(kind: Kind) -> None:
    """According to the record, which is saved with the result."""
    async with world() as w:
        await MADE[kind](w)
        assert [(drift.kind, drift.repaired) for drift in await audited(w, repair=True)] == [(kind, True)]
        assert await audited(w) == []
        record = w.state.record(ALICE)
        account = await w.client.account(ALICE)
        assert account
        assert plan(record, account) == []


@KINDS
async def test_a_repair_changes_no_other_account(kind: Kind) -> None:
    """Neither an account without drift, nor an account without a record, nor the admin's."""
    async with world(BOB, CAROL) as w:
        await w.process(profile(BOB, display_name="Bob"))
        w.account(CAROL).update(deactivated=True, displayname="Carol")
        w.homeserver.rooms[w.homeserver.mxid(CAROL)] = 2
        others = {mxid: dict(account) for mxid, account in w.homeserver.accounts.items()}
        await MADE[kind](w)
        bob = w.state.stored_bytes(BOB)
        w.homeserver.requests.clear()
        await audited(w, repair=True)
        assert {mxid: w.homeserver.accounts[mxid] for mxid in others} == others
        assert w.homeserver.rooms == {w.homeserver.mxid(CAROL): 2}
        assert all(ALICE in path or "/media" in path for _, path in writes(w))
        assert (w.state.stored_bytes(BOB), w.state.record(CAROL)) == (bob, UserState())


@KINDS
async def test_only_the_requested_kinds_are_found_and_repaired(kind: Kind) -> None:
    async with world() as w:
        await MADE[kind](w)
        before = homeserver_state(w)
        assert await audited(w, Options(frozenset(Kind) - {kind}), repair=True) == []
        assert homeserver_state(w) == before
        assert [drift.kind for drift in await audited(w, Options(frozenset({kind})), repair=True)] == [kind]
        assert await audited(w) == []


@settings(max_examples=150)
@given(RECORDS, ACCOUNTS)
def test_after_a_repair_a_second_audit_finds_nothing(record: UserState, account: Account) -> None:
    """For any record and any account."""

    async def run() -> None:
        async with world(ALICE) as w:
            w.avatars.images = dict(IMAGES)
            w.account().update(
                deactivated=account.deactivated, erased=account.erased,
                displayname=account.display_name or None, avatar_url=account.avatar or None,
            )  # fmt: skip
            w.homeserver.rooms[w.homeserver.mxid(ALICE)] = 2
            w.homeserver.media = {f"mxc://test.example/{name}": b"it" for name in ("one", "two", "copy", "old")}
            w.homeserver.uploads = {mxc: {"user_id": ""} for mxc in w.homeserver.media}
            await w.users.write({ALICE: Versioned(record)})
            first = await audited(w, repair=True)
            assert all(drift.repaired for drift in first)
            assert await audited(w, repair=True) == []

    anyio.run(run)


# --- no drift


async def test_accounts_without_a_record_are_counted_and_not_changed() -> None:
    """No event has said what they should be."""
    async with world(ALICE, BOB) as w:
        await w.process(profile(BOB))
        w.account().update(deactivated=True, displayname="Mallory")
        audit = make_audit(w, repair=True)
        await audit.walk(lambda _count, _total: None)
        assert (audit.summary.accounts, audit.summary.no_record, audit.summary.found.total()) == (2, 1, 0)
        assert not any(ALICE in path for _, path in writes(w))


async def test_an_account_deactivated_by_another_client_is_counted_and_not_changed() -> None:
    """The same rule as for events."""
    async with world(ALICE) as w:
        await w.process(profile(display_name="Alice"))
        w.account().update(deactivated=True, displayname="Mallory")
        audit = make_audit(w, repair=True)
        await audit.walk(lambda _count, _total: None)
        assert (audit.summary.deactivated_elsewhere, audit.summary.found.total()) == (1, 0)
        assert w.account()["displayname"] == "Mallory"


async def test_a_new_upload_is_not_orphaned() -> None:
    """The function may be about to set it as an avatar."""
    async with world(ALICE) as w:
        await w.client.upload(b"face", "image/png", ALICE)
        w.clock.now += timedelta(minutes=59)
        assert await audited(w) == []
        assert len(await audited(w, Options(media_age=timedelta(0)))) == 1


async def test_an_avatar_is_not_orphaned_even_without_a_record() -> None:
    """The loss of the state store must not delete avatars."""
    async with world(ALICE) as w:
        w.account()["avatar_url"] = await w.client.upload(b"face", "image/png", ALICE)
        w.clock.now += timedelta(days=1)
        assert await audited(w, repair=True) == []


async def test_an_image_of_a_user_whose_record_cannot_be_read_is_not_deleted() -> None:
    """The record may list it."""
    async with world(ALICE) as w:
        await w.client.upload(b"face", "image/png", ALICE)
        await w.state.write_values({ALICE: (b'{"v": 99}', "")})
        w.clock.now += timedelta(days=1)
        audit = make_audit(w, repair=True)
        while not audit.finished:
            await audit.walk(lambda _count, _total: None)
        assert (audit.summary.found.total(), audit.summary.unchecked) == (0, {Reason.STATE_UNREADABLE: 2})


# --- while the function is running


async def test_drift_that_the_function_repairs_during_the_audit_is_not_reported() -> None:
    """An event arrived after the accounts were listed: account and record are read again."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        w.account()["displayname"] = "Mallory"

        async def comes_in_between(method: str, path: str) -> None:
            if path.endswith(f"/users/{w.homeserver.mxid(ALICE)}"):
                w.homeserver.before = None
                await w.process(profile(second=2, display_name="Grace"))

        w.homeserver.before = comes_in_between
        assert await audited(w) == []


async def test_an_account_whose_record_changes_with_each_check_is_not_reported() -> None:
    """Another process is writing it; the next audit checks it."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        w.account()["displayname"] = "Mallory"
        record = w.state.record(ALICE)

        async def saves(_method: str, path: str) -> None:
            if path.endswith(f"/users/{w.homeserver.mxid(ALICE)}"):
                w.state._put({ALICE: dump(record)})

        w.homeserver.before = saves
        assert await audited(w, repair=True) == []
        assert w.account()["displayname"] == "Mallory"


async def test_after_a_conflict_a_repair_applies_the_newer_record() -> None:
    """Its first call may have overwritten the newer state."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        w.account()["displayname"] = "Mallory"
        newer = replace(w.state.record(ALICE), display_name="Grace")
        w.state.rivals = [{ALICE: newer}]
        [drift] = await audited(w, repair=True)
        assert drift.repaired
        assert w.account()["displayname"] == w.state.record(ALICE).display_name == "Grace"


async def test_a_repair_with_a_conflict_each_time_is_reported() -> None:
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        w.account()["displayname"] = "Mallory"
        record = w.state.record(ALICE)
        w.state.rivals = [{ALICE: replace(record, display_name=f"Grace {n}")} for n in range(ATTEMPTS)]
        [drift] = await audited(w, repair=True)
        assert (drift.repaired, drift.why) == (False, Reason.CONFLICT)


async def test_a_user_deactivated_by_a_repair_gets_a_recheck() -> None:
    """As after an event: Synapse may still process joins."""
    async with world(ALICE) as w:
        await w.one_by_one([profile(second=1, display_name="Ada"), deletion(second=2)])
        w.account()["deactivated"] = False
        w.rechecks.due.clear()
        await audited(w, repair=True)
        assert w.rechecks.due == {ALICE: w.clock.now + CHECK_AFTER}


async def test_a_user_whose_account_is_about_to_change_is_not_checked() -> None:
    """A process holds a claim."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        w.account()["displayname"] = "Mallory"
        claimed = replace(w.state.record(ALICE), claim=Claim("other", w.clock.now + timedelta(seconds=1)))
        await w.state.write_values({ALICE: (dump(claimed), "2")})
        assert await audited(w, repair=True) == []


async def test_an_image_that_was_deleted_is_uploaded_again() -> None:
    """It is dangling: no event would notice."""
    async with world() as w:
        await MADE[Kind.AVATAR_GONE](w)
        [drift] = await audited(w, repair=True)
        assert (drift.kind, drift.repaired) == (Kind.AVATAR_GONE, True)
        assert w.homeserver.media == {w.account()["avatar_url"]: b"face"}
        assert await audited(w) == []


async def test_an_image_that_only_the_events_name_can_not_be_uploaded_again() -> None:
    async with world(ALICE) as w:
        await w.process(profile(avatar_url="mxc://test.example/gone"))
        [drift] = await audited(w, repair=True)
        assert (drift.kind, drift.repaired, drift.why) == (Kind.AVATAR_GONE, False, Reason.AVATAR_NOT_FOUND)


# --- failed repairs and checks


async def test_a_repair_that_synapse_refuses_is_reported_with_its_reason() -> None:
    async with world(ALICE) as w:
        await w.process(profile(display_name="Ada"))
        w.account()["displayname"] = "Mallory"
        w.homeserver.refused_names.add("Ada")
        [drift] = await audited(w, repair=True)
        assert (drift.kind, drift.repaired, drift.why) == (Kind.DISPLAY_NAME, False, Reason.SYNAPSE_REFUSED)


@pytest.mark.parametrize("kind", [Kind.IN_ROOMS, Kind.ORPHANED_MEDIA])
async def test_a_failing_call_is_reported_as_unrepaired(kind: Kind) -> None:
    async with world() as w:
        await MADE[kind](w)
        w.homeserver.failing_for = {"/deactivate/", "/v1/media/"}
        [drift] = await audited(w, repair=True)
        assert (drift.repaired, drift.why) == (False, Reason.SYNAPSE_ERROR)


@pytest.mark.parametrize("path", ["/joined_rooms", f"/v2/users/@nova-{ALICE}"])
async def test_an_account_that_cannot_be_checked_is_counted(path: str) -> None:
    """It may have drift."""
    async with world() as w:
        await MADE[Kind.IN_ROOMS](w)
        w.homeserver.failing_for = {path}
        audit = make_audit(w)
        await audit.walk(lambda _count, _total: None)
        assert (audit.summary.found.total(), audit.summary.unchecked) == (0, {Reason.SYNAPSE_ERROR: 1})


async def test_an_unavailable_state_store_ends_the_audit_where_it_is() -> None:
    """The cursor says where to continue."""
    async with world(*(user(n) for n in range(10))) as w:
        audit = make_audit(w, cursor=Cursor(Listing.ACCOUNTS, 4))
        w.state.down = True
        with pytest.raises(TryAgain):
            await audit.walk(lambda _count, _total: None)
        assert str(audit.cursor) == "accounts:4"


# --- pages, cursors, limits


async def test_a_page_costs_one_call_and_one_read() -> None:
    """However many accounts it has."""
    users = [user(n) for n in range(PAGE + 10)]
    async with world(*users) as w:
        await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name=f"nova-{one}")) for one in users})
        w.homeserver.requests.clear()
        w.state.reads = 0
        seen: list[tuple[int, int | None]] = []
        audit = make_audit(w)
        await audit.walk(lambda count, total: seen.append((count, total)))
        assert (len(w.homeserver.requests), w.state.reads) == (2, 2)
        assert seen == [(PAGE, PAGE + 10), (10, PAGE + 10)]
        assert (audit.summary.accounts, audit.cursor) == (PAGE + 10, Cursor(Listing.MEDIA))


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_an_audit_with_a_limit_ends_where_the_next_one_starts(limit: int) -> None:
    """Each drift is found exactly once."""
    users = [user(n) for n in range(12)]
    async with world(*users) as w:
        await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name="Ada")) for one in users})
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


async def test_an_audit_that_was_stopped_while_repairing_continues_with_its_page() -> None:
    """The current repair is finished; no account is skipped."""
    users = [user(n) for n in range(6)]
    async with world(*users) as w:
        await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name="Ada")) for one in users})
        found: list[Drift] = []

        def report(drift: Drift) -> None:
            found.append(drift)
            if len(found) == 2:
                audit.stop()

        audit = make_audit(w, repair=True, report=report)
        await audit.walk(lambda _count, _total: None)
        assert (len(found), audit.stopped, str(audit.cursor)) == (2, True, "accounts:0")
        rest = await audited(w, repair=True, cursor=audit.cursor)
        assert [drift.user_id for drift in found + rest] == users


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


async def test_a_rate_limits_the_repairs() -> None:
    """Ten per second: the third starts after a fifth of a second."""
    async with world(*(users := [user(n) for n in range(3)])) as w:
        await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name="Ada")) for one in users})
        start = anyio.current_time()
        repairer = repairer_of(w, rate=10)
        never = asyncio.Event()
        for one in users:
            await repairer.wait_for_rate(never)
            await repairer.account(one, frozenset({Kind.DISPLAY_NAME}))
        assert anyio.current_time() - start >= 0.19


async def test_a_stop_ends_the_wait_for_the_rate_limit() -> None:
    """Otherwise a rate of one per day would delay the end after Ctrl-C by a day."""
    async with world(*(users := [user(n) for n in range(2)])) as w:
        await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name="Ada")) for one in users})
        repairer = repairer_of(w, rate=1 / 86_400)
        audit = Audit(
            w.client, w.homeserver.service_user, w.users, repairer, Options(), lambda _: audit.stop(), None, w.clock
        )
        with anyio.fail_after(5):
            await audit.walk(lambda _count, _total: None)
        assert (audit.summary.repaired.total(), str(audit.cursor)) == (1, "accounts:0")


async def test_an_account_whose_record_was_deleted_is_not_repaired() -> None:
    """An account without a record is never changed."""
    async with world(ALICE) as w:
        left = await repairer_of(w).account(ALICE, frozenset({Kind.DISPLAY_NAME}))
        assert left == Unrepaired(frozenset({Kind.DISPLAY_NAME}), Reason.CONFLICT)
        assert writes(w) == []


@pytest.mark.parametrize("text", ["", "accounts", "accounts:", "accounts:-1", "rooms:1", "accounts:1x", "media:1e3"])
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
