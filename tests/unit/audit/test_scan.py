"""The audit: each kind of drift is found and repaired, and nothing else is touched."""

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
from function.accounts.user_state import Status, UserState
from function.accounts.user_store import Versioned, dump
from function.audit.drift import Kind
from function.audit.findings import Cursor, Drift, Listing, Options
from function.audit.repair import TRIES, Repairer, Unrepaired
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


def repairs(w: Harness, rate: float = 0) -> Repairer:
    return Repairer(w.client, w.users, w.reconciler, w.room_cleanup, rate)


def begun(
    w: Harness, options: Options | None = None, *, repair: bool = False, cursor: Cursor | None = None,
    tell: Callable[[Drift], None] = lambda _: None,
) -> Audit:  # fmt: skip
    mends = repairs(w) if repair else None
    return Audit(w.client, w.homeserver.service_user, w.users, mends, options or Options(), tell, cursor, w.clock)


async def audited(
    w: Harness, options: Options | None = None, *, repair: bool = False, cursor: Cursor | None = None
) -> list[Drift]:
    found: list[Drift] = []
    audit = begun(w, options, repair=repair, cursor=cursor, tell=found.append)
    while not audit.over:
        await audit.walk(lambda _count, _total: None)
    return found


def everything(w: Harness) -> dict[str, object]:
    return deepcopy({"accounts": w.homeserver.accounts, "media": w.homeserver.media, "rooms": w.homeserver.rooms})


def writes(w: Harness) -> list[tuple[str, str]]:
    return [(method, path) for method, path in w.homeserver.requests if method != "GET"]


# --- each kind


@KINDS
async def test_each_kind_is_found_and_nothing_is_written(kind: Kind) -> None:
    """An audit without --repair only looks."""
    async with world() as w:
        await MADE[kind](w)
        before, record = everything(w), w.state.record(ALICE)
        w.homeserver.requests.clear()
        saved = w.state.writes
        [drift] = await audited(w)
        assert (drift.kind, drift.user_id, drift.repaired) == (kind, ALICE, None)
        assert everything(w) == before
        assert (writes(w), w.state.record(ALICE), w.state.writes) == ([], record, saved)


@KINDS
async def test_each_kind_is_repaired_and_then_gone(kind: Kind) -> None:
    """By what the record says, which is saved with what was done."""
    async with world() as w:
        await MADE[kind](w)
        assert [(drift.kind, drift.repaired) for drift in await audited(w, repair=True)] == [(kind, True)]
        assert await audited(w) == []
        record = w.state.record(ALICE)
        account = await w.client.account(ALICE)
        assert account
        assert plan(record, account) == []


@KINDS
async def test_a_repair_touches_nobody_else(kind: Kind) -> None:
    """One person in step, one without a record whose account looks like anything, the admin."""
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
async def test_only_the_kinds_that_were_asked_for_are_found_and_repaired(kind: Kind) -> None:
    async with world() as w:
        await MADE[kind](w)
        before = everything(w)
        assert await audited(w, Options(frozenset(Kind) - {kind}), repair=True) == []
        assert everything(w) == before
        assert [drift.kind for drift in await audited(w, Options(frozenset({kind})), repair=True)] == [kind]
        assert await audited(w) == []


@settings(max_examples=150)
@given(RECORDS, ACCOUNTS)
def test_after_a_repair_a_second_audit_finds_nothing(record: UserState, account: Account) -> None:
    """Whatever the record says and whatever the account is."""

    async def life() -> None:
        async with world(ALICE) as w:
            w.avatars.images = dict(IMAGES)
            w.account().update(
                deactivated=account.deactivated, erased=account.erased,
                displayname=account.display_name or None, avatar_url=account.avatar or None,
            )  # fmt: skip
            w.homeserver.rooms[w.homeserver.mxid(ALICE)] = 2
            await w.users.write({ALICE: Versioned(record)})
            first = await audited(w, repair=True)
            assert all(drift.repaired for drift in first)
            assert await audited(w, repair=True) == []

    anyio.run(life)


# --- what is no drift


async def test_accounts_without_a_record_are_counted_and_left_alone() -> None:
    """Nobody has said what they should be."""
    async with world(ALICE, BOB) as w:
        await w.process(profile(BOB))
        w.account().update(deactivated=True, displayname="Mallory")
        audit = begun(w, repair=True)
        await audit.walk(lambda _count, _total: None)
        assert (audit.summary.accounts, audit.summary.no_record, audit.summary.found.total()) == (2, 1, 0)
        assert not any(ALICE in path for _, path in writes(w))


async def test_an_account_that_somebody_else_ended_is_counted_and_left_alone() -> None:
    """The same rule as for events."""
    async with world(ALICE) as w:
        await w.process(profile(display_name="Alice"))
        w.account().update(deactivated=True, displayname="Mallory")
        audit = begun(w, repair=True)
        await audit.walk(lambda _count, _total: None)
        assert (audit.summary.deactivated_elsewhere, audit.summary.found.total()) == (1, 0)
        assert w.account()["displayname"] == "Mallory"


async def test_an_image_that_was_just_uploaded_is_not_orphaned() -> None:
    """The function may be about to show it."""
    async with world(ALICE) as w:
        await w.client.upload(b"face", "image/png", ALICE)
        w.clock.now += timedelta(minutes=59)
        assert await audited(w) == []
        assert len(await audited(w, Options(media_age=timedelta(0)))) == 1


async def test_an_image_that_is_shown_is_not_orphaned_even_without_a_record() -> None:
    """A state store that was lost must not cost anybody a face."""
    async with world(ALICE) as w:
        w.account()["avatar_url"] = await w.client.upload(b"face", "image/png", ALICE)
        w.clock.now += timedelta(days=1)
        assert await audited(w, repair=True) == []


async def test_an_image_of_a_user_whose_record_cannot_be_read_is_left_alone() -> None:
    """The record may list it."""
    async with world(ALICE) as w:
        await w.client.upload(b"face", "image/png", ALICE)
        await w.state.write_values({ALICE: (b'{"v": 99}', "")})
        w.clock.now += timedelta(days=1)
        audit = begun(w, repair=True)
        while not audit.over:
            await audit.walk(lambda _count, _total: None)
        assert (audit.summary.found.total(), audit.summary.unchecked) == (0, {Reason.STATE_UNAVAILABLE: 2})


# --- beside a function at work


async def test_what_the_function_mends_meanwhile_is_no_drift() -> None:
    """The account was listed, then an event came: account and record are looked at again."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        w.account()["displayname"] = "Mallory"

        async def comes_in_between(method: str, path: str) -> None:
            if path.endswith(f"/users/{w.homeserver.mxid(ALICE)}"):
                w.homeserver.before = None
                await w.process(profile(second=2, display_name="Grace"))

        w.homeserver.before = comes_in_between
        assert await audited(w) == []


async def test_a_record_that_changes_with_each_look_is_not_judged() -> None:
    """Somebody is at it; the next audit will see."""
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


async def test_a_repair_that_meets_another_writer_ends_at_the_newer_record() -> None:
    """Not at the one that it began with: its own call may have gone over the newer one."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        w.account()["displayname"] = "Mallory"
        newer = replace(w.state.record(ALICE), display_name="Grace")
        w.state.rivals = [{ALICE: newer}]
        [drift] = await audited(w, repair=True)
        assert drift.repaired
        assert w.account()["displayname"] == w.state.record(ALICE).display_name == "Grace"


async def test_a_repair_that_meets_another_writer_each_time_is_reported() -> None:
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        w.account()["displayname"] = "Mallory"
        record = w.state.record(ALICE)
        w.state.rivals = [{ALICE: replace(record, display_name=f"Grace {n}")} for n in range(TRIES)]
        [drift] = await audited(w, repair=True)
        assert (drift.repaired, drift.why) == (False, Reason.CONFLICT)


async def test_who_is_deactivated_by_a_repair_is_looked_after() -> None:
    """As after an event: joins may still be queued."""
    async with world(ALICE) as w:
        await w.one_by_one([profile(second=1, display_name="Ada"), deletion(second=2)])
        w.account()["deactivated"] = False
        await w.state.write_values({"departures": (b"{}", "1")})
        await audited(w, repair=True)
        assert ALICE.encode() in w.state.stored_bytes("departures")


# --- what can't be repaired, or looked at


async def test_what_synapse_refuses_is_left_with_its_reason() -> None:
    async with world(ALICE) as w:
        await w.process(profile(display_name="Ada"))
        w.account()["displayname"] = "Mallory"
        w.homeserver.refused_names.add("Ada")
        [drift] = await audited(w, repair=True)
        assert (drift.kind, drift.repaired, drift.why) == (Kind.DISPLAY_NAME, False, Reason.SYNAPSE_REFUSED)


@pytest.mark.parametrize("kind", [Kind.IN_ROOMS, Kind.ORPHANED_MEDIA])
async def test_a_failing_call_leaves_the_drift(kind: Kind) -> None:
    async with world() as w:
        await MADE[kind](w)
        w.homeserver.failing_for = {"/deactivate/", "/v1/media/"}
        [drift] = await audited(w, repair=True)
        assert (drift.repaired, drift.why) == (False, Reason.SYNAPSE_ERROR)


@pytest.mark.parametrize("path", ["/joined_rooms", f"/v2/users/@nova-{ALICE}"])
async def test_an_account_that_cannot_be_looked_at_is_counted(path: str) -> None:
    """Not being able to tell is not the same as no drift."""
    async with world() as w:
        await MADE[Kind.IN_ROOMS](w)
        w.homeserver.failing_for = {path}
        audit = begun(w)
        await audit.walk(lambda _count, _total: None)
        assert (audit.summary.found.total(), audit.summary.unchecked) == (0, {Reason.SYNAPSE_ERROR: 1})


async def test_a_broken_world_ends_the_audit_where_it_is() -> None:
    """The place says where to go on."""
    async with world(*(user(n) for n in range(10))) as w:
        audit = begun(w, cursor=Cursor(Listing.ACCOUNTS, 4))
        w.state.down = True
        with pytest.raises(TryAgain):
            await audit.walk(lambda _count, _total: None)
        assert str(audit.cursor) == "accounts:4"


# --- pages, places, limits


async def test_a_page_costs_one_call_and_one_read() -> None:
    """However many accounts are in it; those that seem to differ cost one of each more."""
    users = [user(n) for n in range(PAGE + 10)]
    async with world(*users) as w:
        await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name=f"nova-{one}")) for one in users})
        w.homeserver.requests.clear()
        w.state.reads = 0
        seen: list[tuple[int, int | None]] = []
        audit = begun(w)
        await audit.walk(lambda count, total: seen.append((count, total)))
        assert (len(w.homeserver.requests), w.state.reads) == (2, 2)
        assert seen == [(PAGE, PAGE + 10), (10, PAGE + 10)]
        assert (audit.summary.accounts, audit.cursor) == (PAGE + 10, Cursor(Listing.MEDIA))


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_audits_with_a_limit_end_where_the_next_one_begins(limit: int) -> None:
    """Each account is found once, by one of them."""
    users = [user(n) for n in range(12)]
    async with world(*users) as w:
        await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name="Ada")) for one in users})
        for number in range(3):
            await w.client.upload(b"face", "image/png", user(number))
        found: list[Drift] = []
        cursor: Cursor | None = Options().start
        rounds = 0
        while cursor:
            audit = begun(
                w, Options(limit=limit, media_age=timedelta(0)), cursor=Cursor.read(str(cursor)), tell=found.append
            )
            while not audit.over:
                await audit.walk(lambda _count, _total: None)
            cursor, rounds = audit.cursor, rounds + 1
        assert [drift.user_id for drift in found] == users + users[:3]
        assert rounds >= 15 // limit


async def test_a_stopped_repair_goes_on_with_the_page_it_was_in() -> None:
    """What is in hand is finished; nobody is skipped."""
    users = [user(n) for n in range(6)]
    async with world(*users) as w:
        await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name="Ada")) for one in users})
        found: list[Drift] = []

        def tell(drift: Drift) -> None:
            found.append(drift)
            if len(found) == 2:
                audit.stop()

        audit = begun(w, repair=True, tell=tell)
        await audit.walk(lambda _count, _total: None)
        assert (len(found), audit.stopped, str(audit.cursor)) == (2, True, "accounts:0")
        rest = await audited(w, repair=True, cursor=audit.cursor)
        assert [drift.user_id for drift in found + rest] == users


async def test_deleted_images_do_not_make_it_skip_others() -> None:
    """A deletion moves what follows."""
    async with world(*(user(n) for n in range(9))) as w:
        for number in range(9):
            await w.client.upload(b"face", "image/png", user(number))
        found: list[Drift] = []
        cursor: Cursor | None = Cursor(Listing.MEDIA)
        while cursor:
            audit = begun(w, Options(limit=2, media_age=timedelta(0)), repair=True, cursor=cursor, tell=found.append)
            await audit.walk(lambda _count, _total: None)
            cursor = audit.cursor
        assert (len(found), w.homeserver.media) == (9, {})


async def test_repairs_keep_their_pace() -> None:
    """Ten a second: the third is not before a fifth of a second has passed."""
    async with world(*(users := [user(n) for n in range(3)])) as w:
        await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name="Ada")) for one in users})
        begun_at = anyio.current_time()
        mends = repairs(w, rate=10)
        never = asyncio.Event()
        for one in users:
            await mends.wait_for_rate(never)
            await mends.account(one, frozenset({Kind.DISPLAY_NAME}))
        assert anyio.current_time() - begun_at >= 0.19


async def test_a_slow_pace_does_not_hold_up_the_end() -> None:
    """Once a day would be a long wait after Ctrl-C."""
    async with world(*(users := [user(n) for n in range(2)])) as w:
        await w.users.write({one: Versioned(UserState(Status.ACTIVE, display_name="Ada")) for one in users})
        mends = repairs(w, rate=1 / 86_400)
        audit = Audit(
            w.client, w.homeserver.service_user, w.users, mends, Options(), lambda _: audit.stop(), None, w.clock
        )
        with anyio.fail_after(5):
            await audit.walk(lambda _count, _total: None)
        assert (audit.summary.repaired.total(), str(audit.cursor)) == (1, "accounts:0")


async def test_a_record_that_went_away_is_not_repaired() -> None:
    """An account is never touched without one."""
    async with world(ALICE) as w:
        left = await repairs(w).account(ALICE, frozenset({Kind.DISPLAY_NAME}))
        assert left == Unrepaired(frozenset({Kind.DISPLAY_NAME}), Reason.CONFLICT)
        assert writes(w) == []


@pytest.mark.parametrize("text", ["", "accounts", "accounts:", "accounts:-1", "rooms:1", "accounts:1x", "media:1e3"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^.*$"):
        Cursor.read(text)


async def test_what_is_told_of_a_drift_holds_nothing_personal() -> None:
    """The id and what kind; names stay where they are."""
    async with world() as w:
        await MADE[Kind.PERSONAL_DATA](w)
        await MADE[Kind.DISPLAY_NAME](w)
        [drift] = await audited(w)
        assert "Alice" not in json.dumps(str(drift))
