"""The audit finds what erased users have left behind, where the function is to remove it, and --repair has it removed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from function.accounts.recheck_loop import Checked
from function.accounts.traces import TIME_LIMIT, Part
from function.audit.drift import REMOVED, Kind
from function.audit.findings import Options
from function.outcomes import Outcome
from tests.support.audits import audited, homeserver_state, user_list, writes
from tests.support.events import ALICE, deletion
from tests.support.harness import Harness, world

pytestmark = pytest.mark.anyio

OPTIONS = Options(frozenset(Kind))
FOUND = [Kind.OWN_MESSAGES, Kind.OWN_MEDIA]


@asynccontextmanager
async def erased_before() -> AsyncIterator[Harness]:
    """Yields a user who was erased before the settings were on."""
    async with world(ALICE) as w:
        mxid = w.homeserver.mxid(ALICE)
        w.homeserver.say(mxid, 3)
        w.homeserver.add_upload(mxid, "file")
        assert await w.process(deletion(soft=False)) == [Outcome.APPLIED]
        w.removes = frozenset(Part)
        w.restart()
        yield w


async def removed(w: Harness) -> None:
    while await w.processor.recheck(ALICE) is not Checked.SETTLED:
        pass


async def test_an_erasure_from_before_the_settings_is_found_and_not_touched_by_itself() -> None:
    async with erased_before() as w:
        before = homeserver_state(w)
        w.homeserver.requests.clear()
        assert await w.processor.recheck(ALICE) is Checked.SETTLED
        assert [drift.kind for drift in await audited(w, OPTIONS)] == FOUND
        assert [drift.kind for drift in await audited(w, OPTIONS, users=user_list(ALICE))] == FOUND
        assert (homeserver_state(w), writes(w)) == (before, [])
        assert await audited(w) == []  # as with the settings off


async def test_a_repair_begins_the_removal_and_the_function_follows_it() -> None:
    async with erased_before() as w:
        w.homeserver.redaction_looks = 3
        found = await audited(w, OPTIONS, repair=True)
        assert [(drift.kind, drift.repaired) for drift in found] == [(kind, True) for kind in FOUND]
        assert list(w.rechecks.due) == [ALICE]
        assert await audited(w, OPTIONS) == []  # it runs
        await removed(w)
        assert (w.homeserver.readable(w.homeserver.mxid(ALICE)), w.homeserver.media) == (0, {})
        assert await audited(w, OPTIONS) == []


@pytest.mark.parametrize("kind", FOUND)
async def test_only_the_requested_kind_is_repaired(kind: Kind) -> None:
    async with erased_before() as w:
        assert [drift.kind for drift in await audited(w, Options(frozenset({kind})), repair=True)] == [kind]
        await removed(w)
        assert [drift.kind for drift in await audited(w, OPTIONS)] == [other for other in FOUND if other is not kind]


async def test_a_redaction_that_left_something_is_found_and_repeated() -> None:
    """The cause was removed in the meantime."""
    async with erased_before() as w:
        w.homeserver.failing_rooms.add(w.homeserver.room(0))
        await audited(w, OPTIONS, repair=True)
        await removed(w)
        assert [drift.kind for drift in await audited(w, OPTIONS)] == [Kind.OWN_MESSAGES]
        w.homeserver.failing_rooms.clear()
        await audited(w, OPTIONS, repair=True)
        await removed(w)
        assert await audited(w, OPTIONS) == []


async def test_a_repair_that_synapse_refuses_is_not_said_to_be_done() -> None:
    async with erased_before() as w:
        w.homeserver.without_memberships = w.homeserver.undeletable = True
        found = await audited(w, OPTIONS, repair=True)
        assert [(drift.kind, drift.repaired) for drift in found] == [(kind, False) for kind in FOUND]
        assert all(drift.why for drift in found)


async def test_work_that_nobody_follows_any_more_is_found() -> None:
    """Its recheck was lost."""
    async with erased_before() as w:
        w.homeserver.redaction_looks = 10**6
        await audited(w, OPTIONS, repair=True)
        w.clock.now += TIME_LIMIT - timedelta(minutes=1)
        assert await audited(w, OPTIONS) == []
        w.clock.now += timedelta(minutes=1)
        assert [drift.kind for drift in await audited(w, OPTIONS)] == [Kind.OWN_MESSAGES]


async def test_quarantined_files_are_no_drift() -> None:
    """They are not deleted either."""
    async with erased_before() as w:
        for number in range(150):
            mxc = w.homeserver.add_upload(w.homeserver.mxid(ALICE), f"more{number}")
        for upload in w.homeserver.uploads.values():
            upload["quarantined_by"] = "@moderator:test.example"
        only = Options(frozenset({Kind.OWN_MEDIA}))
        assert await audited(w, only) == []
        w.homeserver.uploads[mxc]["quarantined_by"] = None
        assert [drift.kind for drift in await audited(w, only)] == [Kind.OWN_MEDIA]


def test_each_part_that_can_be_removed_is_a_kind_of_drift() -> None:
    assert set(REMOVED.values()) == set(Part)
