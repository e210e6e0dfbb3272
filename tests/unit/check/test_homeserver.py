"""What `check` tries on the homeserver, what it says of each failure, and what it leaves behind: nothing."""

import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.responses import HTMLResponse, JSONResponse, Response

from function.avatars.image_header import read_image_info
from function.check.finding import Finding, Mark
from function.check.homeserver import homeserver_rows, sample_image
from function.settings import Settings
from tests.support.events import ALICE
from tests.support.fake_synapse import ADMIN_TOKEN, FakeSynapse
from tests.support.harness import Harness, world
from tests.support.http import settings_with
from tests.support.mas_world import FakeSecret

pytestmark = pytest.mark.anyio


async def checked(w: Harness, settings: Settings | None = None) -> dict[str, Finding]:
    """Returns the rows of the homeserver."""
    found = homeserver_rows(settings or settings_with(), w.client, FakeSecret(MATRIX_ADMIN_TOKEN=ADMIN_TOKEN))
    return {finding.what: finding async for finding in found}


@asynccontextmanager
async def healthy() -> AsyncIterator[Harness]:
    async with world(ALICE) as w:
        w.homeserver.overrides[w.homeserver.service_user] = {"messages_per_second": 0, "burst_count": 0}
        yield w


async def test_all_is_well_and_nothing_is_left_behind() -> None:
    async with healthy() as w:
        before = {mxid: dict(account) for mxid, account in w.homeserver.accounts.items()}
        found = await checked(w)
        assert list(found) == [
            "accounts", "secret", "token and Synapse", "admin account", "rate limit", "uploads", "deactivations",
        ]  # fmt: skip
        assert {finding.what for finding in found.values() if finding.mark is not Mark.OK} == set()
        assert (w.homeserver.accounts, w.homeserver.media) == (before, {})
        assert len(w.homeserver.uploads) == 1


async def test_a_synapse_that_can_not_list_rooms_is_told_where_messages_are_to_be_redacted() -> None:
    """Otherwise the first deletion would tell."""
    settings = settings_with(matrix_erase_messages=True)
    async with healthy() as w:
        assert (await checked(w, settings))["messages"].mark is Mark.OK
        w.homeserver.without_memberships = True
        row = (await checked(w, settings))["messages"]
        assert (row.mark, row.found) == (Mark.FAILED, "synapse_refused: GET: 404 M_UNRECOGNIZED")
        assert "Synapse 1.145" in row.advice
        assert "messages" not in await checked(w)


def page(status: int) -> Response:
    return HTMLResponse("<h1>a proxy's page</h1>", status)


def unrecognized() -> Response:
    return JSONResponse({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}, 404)


def suspended(homeserver: FakeSynapse) -> None:
    homeserver.accounts[homeserver.service_user]["suspended"] = True


def quota(homeserver: FakeSynapse) -> None:
    homeserver.upload_limit = 1_000_000


def answering(part: str, answer: Callable[[], Response]) -> Callable[[FakeSynapse], None]:
    def prepare(homeserver: FakeSynapse) -> None:
        homeserver.intercepts = lambda _, path: answer() if part in path else None

    return prepare


@pytest.mark.parametrize(
    ("prepare", "what", "says", "advice"),
    [
        (suspended, "admin account", "admin_suspended: the admin account is suspended", "Unsuspend"),
        (quota, "uploads", "admin_limited: 403 M_USER_LIMIT_EXCEEDED", "Exempt the admin account"),
        (answering("/upload", lambda: page(413)), "uploads", "unexpected_answer: POST: 413", "Raise the proxy's limit"),
        (answering("/upload", unrecognized), "uploads", "synapse_refused: POST: 404 M_UNRECOGNIZED", "media API"),
        (answering("/admin/v1/media", unrecognized), "uploads", "synapse_refused: DELETE: 404 M_UNRECOGNIZED", "media API"),
        (
            answering("/deactivate/", unrecognized), "deactivations",
            "deactivation_incomplete: POST: 404 M_UNRECOGNIZED", "main process",
        ),
        (answering("/deactivate/", lambda: page(404)), "deactivations", "unexpected_answer: POST: 404", "exempt the path"),
        (answering("/override_ratelimit", lambda: page(403)), "rate limit", "unexpected_answer: GET: 403", "exempt the path"),
    ],
)  # fmt: skip
async def test_a_failure_has_a_line_of_its_own_with_its_fix(
    prepare: Callable[[FakeSynapse], None], what: str, says: str, advice: str
) -> None:
    async with healthy() as w:
        prepare(w.homeserver)
        found = await checked(w)
        assert {finding.what for finding in found.values() if finding.mark is not Mark.OK} == {what}
        assert found[what].found == says
        assert advice in found[what].advice


async def test_a_homeserver_whose_accounts_mas_owns_is_refused_before_anything_is_tried() -> None:
    async with healthy() as w:
        w.homeserver.delegates = True
        [row] = (await checked(w)).values()
        assert (row.what, row.mark, row.found) == (
            "accounts", Mark.FAILED, "mas_not_configured: MATRIX_MAS_URL is not set",
        )  # fmt: skip
        assert "Set `MATRIX_MAS_URL`" in row.advice
        assert w.homeserver.uploads == {}


async def test_a_secret_without_the_token_names_the_key() -> None:
    async with healthy() as w:
        found = [row async for row in homeserver_rows(settings_with(), w.client, FakeSecret())]
        assert [(row.what, row.mark) for row in found] == [("accounts", Mark.OK), ("secret", Mark.FAILED)]
        assert "MATRIX_ADMIN_TOKEN" in found[1].found


@pytest.mark.parametrize(
    "part",
    ["auth_metadata", "whoami", "/v2/users/", "override_ratelimit", "/upload", "/admin/v1/media", "/deactivate/"],
)
@pytest.mark.parametrize("answer", [lambda: page(500), lambda: page(200), lambda: JSONResponse([], 200)])
async def test_no_answer_of_synapse_is_more_than_a_failed_row(part: str, answer: Callable[[], Response]) -> None:
    async with healthy() as w:
        answering(part, answer)(w.homeserver)
        found = await checked(w)
        [failed] = [finding for finding in found.values() if finding.mark is Mark.FAILED]
        assert failed.advice
        assert not failed.found.startswith("unexpected:")


async def test_a_dry_run_says_that_writes_were_not_tried() -> None:
    async with healthy() as w:
        found = await checked(w, settings_with(matrix_dry_run=True, kafka_consumer_group_id="test-dry-run"))
        assert found["uploads"].found == found["deactivations"].found == "not tried: MATRIX_DRY_RUN"
        assert w.homeserver.uploads == {}


def test_the_sample_is_an_image_that_does_not_compress() -> None:
    """A proxy's limit of 1 MB must not pass it."""
    image = sample_image()
    assert read_image_info(image).content_type == "image/png"
    assert 2_000_000 < len(image) < 2_100_000
    start = image.index(b"IDAT") + 4
    rows = zlib.decompress(image[start:])
    assert len(rows) > 2_000_000
