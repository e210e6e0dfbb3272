"""The audit finds and repairs each kind of drift and changes nothing else."""

from datetime import timedelta

import anyio
import pytest
from hypothesis import given, settings

from function.accounts.plan import plan
from function.accounts.user_state import UserState
from function.accounts.user_store import Versioned
from function.audit.drift import Kind
from function.audit.findings import Options
from function.homeserver.account import Account
from function.outcomes import Reason
from tests.support.audits import audited, homeserver_state, make_audit, walk_all, writes
from tests.support.drift_scenarios import MADE, world_of
from tests.support.events import ALICE, BOB, CAROL, profile
from tests.support.harness import world
from tests.support.strategies import ACCOUNTS, IMAGES, RECORDS

pytestmark = pytest.mark.anyio

DEFAULT = Options().kinds  # for what erased users leave behind see test_own_traces.py
LISTED = [
    kind for kind in Kind if kind in DEFAULT and kind is not Kind.MISSING
]  # Synapse lists no account that is missing
KINDS = pytest.mark.parametrize("kind", LISTED)


@KINDS
async def test_each_kind_is_found_and_nothing_is_written(kind: Kind) -> None:
    """Without --repair."""
    async with world_of(kind) as w:
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
    async with world_of(kind) as w:
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
    async with world_of(kind, BOB, CAROL) as w:
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
    async with world_of(kind) as w:
        await MADE[kind](w)
        before = homeserver_state(w)
        assert await audited(w, Options(DEFAULT - {kind}), repair=True) == []
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


async def test_an_avatar_costs_a_call_and_none_if_its_kind_is_not_looked_for() -> None:
    """As with --no-avatars."""
    async with world(ALICE) as w:
        w.avatars.images["https://cdn.example/face.png"] = b"face"
        await w.process(profile(avatar_url="https://cdn.example/face.png"))
        for kinds, calls in ((DEFAULT, 1), (DEFAULT - {Kind.AVATAR_GONE}, 0)):
            w.homeserver.requests.clear()
            assert await audited(w, Options(kinds)) == []
            assert sum("/v1/media/" in path for _, path in w.homeserver.requests) == calls


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
        await walk_all(audit)
        assert (audit.summary.found.total(), audit.summary.unchecked) == (0, {Reason.STATE_UNREADABLE: 2})
