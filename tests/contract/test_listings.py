"""The two lists that the audit walks, held against every homeserver that is plugged in."""

import time
import uuid
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest

from dev.processes import wait_until
from function.audit.findings import Cursor, Listing
from function.audit.pages import Pages
from function.homeserver.account import Account, Media
from tests.contract.servers.homeservers import Homeserver
from tests.support.images import PNG

pytestmark = pytest.mark.anyio


async def every_account(homeserver: Homeserver, size: int = 3) -> list[tuple[str, Account]]:
    """All pages of `size`, from the first to the last."""
    found: list[tuple[str, Account]] = []
    start: int | None = 0
    while start is not None:
        page = await homeserver.synapse.accounts(start, size)
        assert len(page.rows) <= size
        found += page.items
        start = page.following
    return found


async def every_upload(homeserver: Homeserver, size: int = 3) -> list[Media]:
    found: list[Media] = []
    start: int | None = 0
    while start is not None:
        page = await homeserver.synapse.uploads(homeserver.service_user, start, size)
        found += page.items
        start = page.following
    return found


async def test_the_pages_hold_each_account_once(homeserver: Homeserver) -> None:
    """No account is skipped where one page ends and the next begins."""
    users = [str(uuid.uuid4()) for _ in range(10)]
    for user in users:
        await homeserver.create(user)
    found = [user for user, _ in await every_account(homeserver)]
    assert len(found) == len(set(found))
    assert set(users) <= set(found)


async def test_a_listed_account_says_what_a_look_at_it_says(homeserver: Homeserver, user: str) -> None:
    await homeserver.create(user, "Ünïcödé 🦊")
    await homeserver.synapse.set_avatar(user, "mxc://test.example/abcdef")
    listed = dict(await every_account(homeserver))
    assert listed[user] == await homeserver.synapse.account(user)


async def test_ended_and_locked_accounts_are_listed_too(homeserver: Homeserver) -> None:
    """Synapse leaves both out unless it is asked for them."""
    soft, hard, locked = [str(uuid.uuid4()) for _ in range(3)]
    for user in (soft, hard, locked):
        await homeserver.create(user)
    await homeserver.synapse.deactivate(soft, erase=False)
    await homeserver.synapse.deactivate(hard, erase=True)
    await homeserver.lock(locked)
    listed = dict(await every_account(homeserver))
    assert listed[soft] == Account(deactivated=True, display_name="First Name")
    assert listed[hard] == Account(deactivated=True, erased=True)
    assert listed[locked] == Account(display_name="First Name")


async def test_a_reactivated_account_is_no_longer_erased(homeserver: Homeserver, user: str) -> None:
    """So it looks like any active account: only the record knows."""
    await homeserver.create(user)
    await homeserver.synapse.deactivate(user, erase=True)
    await homeserver.reactivate(user)
    assert dict(await every_account(homeserver))[user] == Account()


async def test_accounts_of_others_are_not_ours(homeserver: Homeserver, user: str) -> None:
    """The admin's own, and one whose name only begins as ours do."""
    await homeserver.create(user)
    await homeserver.create(f"{user}1")
    found = [listed for listed, _ in await every_account(homeserver)]
    assert user in found
    assert f"{user}1" not in found
    assert all(str(uuid.UUID(listed)) == listed for listed in found)


async def test_an_account_that_is_made_during_the_walk_moves_no_other(homeserver: Homeserver) -> None:
    """The order is that of creation, to the second, so that an offset means the same tomorrow."""
    for _ in range(4):
        await homeserver.create(str(uuid.uuid4()))
    pages = [await homeserver.synapse.accounts(start, 2) for start in (0, 2)]
    second = int(time.time())
    assert wait_until(lambda: int(time.time()) > second, 2)
    await homeserver.create(f"00000000-0000-4000-8000-{uuid.uuid4().hex[:12]}")  # by name it would come first
    assert [(await homeserver.synapse.accounts(start, 2)).items for start in (0, 2)] == [page.items for page in pages]


async def test_behind_the_end_there_is_nothing(homeserver: Homeserver) -> None:
    """A token of yesterday may be too far."""
    page = await homeserver.synapse.accounts(1_000_000, 10)
    assert (page.rows, page.following) == ([], None)


async def test_uploads_are_listed_with_their_user_and_their_time(homeserver: Homeserver) -> None:
    """And no longer once they are deleted."""
    users = [str(uuid.uuid4()) for _ in range(5)]
    addresses = {await homeserver.synapse.upload(PNG, "image/png", user): user for user in users}
    found = {media.mxc: media for media in await every_upload(homeserver)}
    assert {mxc: media.user_id for mxc, media in found.items() if mxc in addresses} == addresses
    now = homeserver.fake.now if homeserver.fake else datetime.now(UTC)
    assert all(now - found[mxc].at < timedelta(minutes=1) for mxc in addresses)
    for mxc in addresses:
        await homeserver.synapse.delete_media(mxc)
    assert not addresses.keys() & {media.mxc for media in await every_upload(homeserver)}


async def test_rows_are_in_the_order_of_their_time_and_id(homeserver: Homeserver) -> None:
    """A walk finds the last row of one page at the beginning of the next by it."""
    for _ in range(4):
        user = str(uuid.uuid4())
        await homeserver.create(user)
        await homeserver.synapse.upload(PNG, "image/png", user)
    accounts = (await homeserver.synapse.accounts(0, 1_000)).rows
    uploads = (await homeserver.synapse.uploads(homeserver.service_user, 0, 1_000)).rows
    for rows in (accounts, uploads):
        keys = [(row.at, row.id) for row in rows]
        assert keys == sorted(keys)
        assert len(set(keys)) == len(keys) >= 4


async def test_uploads_that_are_deleted_during_a_walk_hide_no_other(homeserver: Homeserver) -> None:
    """Synapse pages by offset: each deletion moves the later rows. Every upload that stays is seen, and once."""
    made: list[str] = []
    for _ in range(24):
        made.append(await homeserver.synapse.upload(PNG, "image/png", str(uuid.uuid4())))
        if homeserver.fake:
            homeserver.fake.now += timedelta(milliseconds=1)
    pages = Pages(lambda start, limit: homeserver.synapse.uploads(homeserver.service_user, start, limit))
    cursor, seen, last, gone = Cursor(Listing.MEDIA), list[str](), False, list[str]()
    while not last:
        chunk = await pages.after(Cursor.read(str(cursor)), 4)
        seen += [media.mxc for _, media in chunk.rows if media and media.mxc in made]
        cursor, last = chunk.rows[-1][0] if chunk.rows else cursor, chunk.last
        for mxc in {*seen[:2], *seen[-2:]} - set(gone):  # also the last row, by which the walk goes on
            await homeserver.synapse.delete_media(mxc)
            gone.append(mxc)
    assert seen == made
    assert len(gone) > 6


async def test_other_uploads_are_not_ours(homeserver: Homeserver, user: str) -> None:
    """The admin may have a picture, too."""
    mxc = await homeserver.synapse.upload(PNG, "image/png", f"{user}.png")
    assert mxc not in {media.mxc for media in await every_upload(homeserver)}


async def test_a_person_who_joins_after_the_deactivation_leaves_with_the_next(
    homeserver: Homeserver, user: str
) -> None:
    """How an account stays in rooms, and what makes it leave them."""
    await homeserver.create(user)
    await homeserver.synapse.deactivate(user, erase=False)
    await homeserver.join_a_room(user)
    assert await homeserver.synapse.joined_rooms(user) == 1
    await homeserver.synapse.deactivate(user, erase=False)
    with anyio.fail_after(30):
        while await homeserver.synapse.joined_rooms(user):
            await anyio.lowlevel.checkpoint()
