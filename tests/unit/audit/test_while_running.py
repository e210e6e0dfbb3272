"""The audit next to the running function: nothing is reported or repaired that an event has changed in between; and what
becomes of repairs and checks that fail."""

from dataclasses import replace
from datetime import timedelta

import pytest

from function.accounts.later_looks import CHECK_AFTER
from function.accounts.updater import ATTEMPTS
from function.accounts.user_state import Claim
from function.accounts.user_store import dump
from function.audit.drift import Kind
from function.audit.findings import Cursor, Listing
from function.outcomes import Reason, TryAgain
from tests.support.audits import audited, make_audit, user
from tests.support.drift_scenarios import MADE
from tests.support.events import ALICE, deletion, profile
from tests.support.harness import world

pytestmark = pytest.mark.anyio


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
