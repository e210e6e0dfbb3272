"""Pages of a list in which rows disappear, and pages that Synapse is slow with."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.audit.findings import Cursor, Drift, Listing, Mark, Options
from function.audit.pages import FIRST_PAGE, LONGEST_PAGE, SHORTEST_PAGE, Pages, rows_done
from function.homeserver.account import Page, Row
from function.outcomes import Reason, Rejected
from tests.support.audits import audited, make_audit, user, walk_all
from tests.support.harness import world
from tests.support.virtual_time import VIRTUAL_TIME

pytestmark = pytest.mark.anyio
MEDIA = Cursor(Listing.MEDIA)
LATE = Rejected(Reason.SYNAPSE_ERROR, "GET: no answer in time")


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return VIRTUAL_TIME


class Rows:
    """A list of `count` rows. Before each page those at the given places disappear; `seconds` is how long a page takes."""

    def __init__(self, count: int, times: list[int] | None = None) -> None:
        self.rows = [Row(at, f"row{number:05}", number) for number, at in enumerate(times or range(count))]
        self.deletions: list[list[int]] = []
        self.asked: list[tuple[int, int]] = []
        self.seconds = 0.0
        self.failing = 0

    async def fetch(self, start: int, limit: int) -> Page[int]:
        self.asked.append((start, limit))
        for place in sorted(self.deletions.pop(0) if self.deletions else [], reverse=True):
            if place < len(self.rows):
                del self.rows[place]
        await anyio.sleep(self.seconds)
        if self.failing:
            self.failing -= 1
            raise LATE
        rows = self.rows[start : start + limit]
        more = start + limit < len(self.rows)
        return Page(rows, start + len(rows) if more else None, len(self.rows))


async def walked(rows: Rows, limit: int | None = None, *, printed: bool = False) -> list[int]:
    """Returns what a walk sees; with `printed`, each page is a run of its own, which gets its cursor as text."""
    pages, cursor, seen, last = Pages(rows.fetch), MEDIA, list[int](), False
    while not last:
        if printed:
            pages, cursor = Pages(rows.fetch), Cursor.read(str(cursor))
        chunk = await pages.after(cursor, limit)
        seen += [item for _, item in chunk.rows if item is not None]
        cursor = chunk.rows[-1][0] if chunk.rows else cursor
        last = chunk.last
    return seen


DELETIONS = st.lists(st.lists(st.integers(0, 40), max_size=8, unique=True), max_size=30)
TIMES = st.lists(st.integers(0, 60), max_size=40).map(sorted)


@given(TIMES, DELETIONS, st.integers(1, 7), st.booleans())
def test_no_row_that_stays_is_missed(times: list[int], deletions: list[list[int]], limit: int, printed: bool) -> None:
    """Whatever disappears between the pages, also with rows of the same time, and with a cursor that was printed."""
    rows = Rows(0, times)
    rows.deletions = deletions
    seen = anyio.run(lambda: walked(rows, limit, printed=printed))
    assert {row.item for row in rows.rows} <= set(seen)
    assert len(set(times)) < len(times) or len(seen) == len(set(seen))  # without equal times none is seen twice


async def test_a_page_begins_with_the_last_row_of_the_page_before() -> None:
    """So nothing is paid for but one row."""
    rows = Rows(7)
    assert await walked(rows, 3) == list(range(7))
    assert rows.asked == [(0, 3), (2, 4), (5, 4)]


async def test_a_row_that_is_not_found_is_looked_for_further_in_front() -> None:
    """Ten times as far each time."""
    rows = Rows(100)
    rows.deletions = [[], list(range(30))]
    assert sorted(await walked(rows, 50)) == list(range(100))
    assert [start for start, _ in rows.asked[:4]] == [0, 49, 40, 0]


async def test_a_cursor_without_a_mark_is_an_offset() -> None:
    """A person may type one."""
    chunk = await Pages(Rows(10).fetch).after(Cursor.read("media:4"), 2)
    assert [item for _, item in chunk.rows] == [4, 5]


def test_a_mark_is_found_by_time_and_id() -> None:
    rows = Rows(0, [1, 2, 2, 5]).rows
    assert [rows_done(rows, Mark.of(row.at, row.id)) for row in rows] == [1, 2, 3, 4]
    assert rows_done(rows, Mark.of(2, "gone")) == 1  # both of its time count as not done
    assert rows_done(rows, Mark.of(1, "gone")) is None
    assert rows_done(rows, Mark.of(9, "gone")) == 4
    assert rows_done([], Mark.of(9, "gone")) is None


# --- how long a page takes


async def test_slow_pages_get_longer() -> None:
    """Synapse counts all rows for each page: fewer pages, fewer counts."""
    rows = Rows(40_000)
    rows.seconds = 2
    assert len(await walked(rows)) == 40_000
    assert [limit for _, limit in rows.asked] == [1000, 2001, 4001, 8001, 10_001, 10_001, 10_001]
    assert LONGEST_PAGE == 10_000


async def test_quick_pages_stay_short() -> None:
    rows = Rows(3_000)
    await walked(rows)
    assert [limit for _, limit in rows.asked] == [1000, 1001, 1001]


async def test_a_page_that_is_late_is_asked_for_once_more_and_shorter() -> None:
    """And the pages stay short: Synapse has told what it can do."""
    rows = Rows(1_250)
    rows.failing, rows.seconds = 1, 2
    assert len(await walked(rows)) == 1_250
    assert rows.asked[:3] == [(0, FIRST_PAGE), (0, SHORTEST_PAGE), (99, SHORTEST_PAGE + 1)]


async def test_a_page_that_is_late_twice_ends_the_walk_where_it_is() -> None:
    rows = Rows(10)
    rows.failing = 2
    with pytest.raises(Rejected, match="no answer in time"):
        await Pages(rows.fetch).after(MEDIA)
    assert len(rows.asked) == 2


async def test_another_refusal_is_not_repeated() -> None:
    async def refuses(_start: int, _limit: int) -> Page[int]:
        raise Rejected(Reason.UNEXPECTED_ANSWER)

    with pytest.raises(Rejected):
        await Pages(refuses).after(MEDIA)


# --- with the homeserver


async def test_images_that_the_function_deletes_during_an_audit_hide_none() -> None:
    """Old avatars go while the uploads are walked, which moves all later ones; all of the rest are found, once."""
    async with world() as w:
        images = [await w.client.upload(b"it", "image/png", user(n)) for n in range(30)]
        for number, upload in enumerate(w.homeserver.uploads.values()):
            upload["created_ts"] += number
        pages = 0

        async def deletes(method: str, path: str) -> None:
            nonlocal pages
            if method == "GET" and path.endswith("/media"):
                for mxc in images[2 * pages : 2 * pages + 2] if pages else []:
                    w.homeserver.media.pop(mxc, None)
                pages += 1

        w.homeserver.before = deletes
        w.clock.now += 2 * Options().media_age
        found: list[Drift] = []
        cursor: Cursor | None = MEDIA
        while cursor:
            audit = make_audit(w, Options(limit=3), cursor=cursor, report=found.append)
            await walk_all(audit)
            cursor = audit.cursor
        details = [drift.detail for drift in found]
        assert w.homeserver.media.keys() <= set(details)
        assert len(w.homeserver.media) < len(images)
        assert len(details) == len(set(details))


async def test_an_account_that_disappears_hides_none() -> None:
    """Synapse deletes none, a person in its database may."""
    users = [user(n) for n in range(6)]
    async with world(*users) as w:
        first = make_audit(w, Options(limit=4))
        await walk_all(first)
        for one in users[:2]:
            del w.homeserver.accounts[w.homeserver.mxid(one)]
        second = make_audit(w, cursor=Cursor.read(str(first.cursor)))
        await second.walk(lambda _count, _total: None)
        assert (first.summary.accounts, second.summary.accounts) == (4, 2)
        assert await audited(w) == []
