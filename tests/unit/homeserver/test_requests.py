"""Rate limits, deadlines, and the state of the admin's own account."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from starlette.responses import JSONResponse, Response

from function.clock import Clock
from function.health import Health
from function.homeserver.probe import HOLD_SECONDS
from function.homeserver.requests import IN_FLIGHT, LIMITED_CEILING, LIMITED_FLOOR, LIMITED_TRIES
from function.homeserver.synapse import Synapse
from function.outcomes import Reason, Rejected, TryAgain
from tests.support.events import ALICE, BOB, EPOCH
from tests.support.fake_dapr import FakeTokens
from tests.support.fake_synapse import ADMIN_TOKEN, FakeSynapse
from tests.support.virtual_time import VIRTUAL_TIME

pytestmark = pytest.mark.anyio

MISSING = object()


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return VIRTUAL_TIME


@pytest.fixture
def homeserver() -> FakeSynapse:
    found = FakeSynapse()
    for user in (ALICE, BOB):
        found.add(found.mxid(user))
    return found


@pytest.fixture
async def synapse(homeserver: FakeSynapse) -> AsyncIterator[Synapse]:
    async with homeserver.client() as http:
        yield Synapse(http, FakeTokens(ADMIN_TOKEN), homeserver.server_name)


def passed() -> float:
    return asyncio.get_running_loop().time()


# --- rate limit


class Limiter:
    """Answers 429 to each profile write, with what the body says of the pause."""

    def __init__(self, asked: object) -> None:
        self.sent: list[float] = []
        self._body = {"errcode": "M_LIMIT_EXCEEDED"} | ({} if asked is MISSING else {"retry_after_ms": asked})

    def __call__(self, _method: str, path: str) -> Response | None:
        if not path.endswith("/displayname"):
            return None
        self.sent.append(passed())
        return JSONResponse(self._body, 429)


@pytest.mark.parametrize(
    ("asked", "pause", "tries"),
    [
        (0, 0, LIMITED_TRIES), (1, 0, LIMITED_TRIES), (-5000, 0, LIMITED_TRIES), (250, 0.25, LIMITED_TRIES),
        (0.1, 0, LIMITED_TRIES), (MISSING, 1.0, LIMITED_TRIES), (None, 1.0, LIMITED_TRIES),
        ("4893", 1.0, LIMITED_TRIES), (True, 1.0, LIMITED_TRIES), ([4893], 1.0, LIMITED_TRIES), (4893, 4.893, 4),
        (60_000, 0.0, 1), (10**30, 0.0, 1), (10**400, 0.0, 1), (1e300, 0.0, 1),
    ],
)  # fmt: skip
async def test_a_rate_limiter_is_asked_a_bounded_number_of_times(
    homeserver: FakeSynapse, synapse: Synapse, asked: object, pause: float, tries: int
) -> None:
    """Whatever it says of the pause: a pause of 0 was 2,000 requests in a second. A pause that it asks for is kept."""
    homeserver.intercepts = limiter = Limiter(asked)
    with pytest.raises(TryAgain) as caught:
        await synapse.set_display_name(ALICE, "Ada")
    assert (caught.value.reason, caught.value.in_doubt) == (Reason.RATE_LIMITED, True)
    assert len(limiter.sent) == tries
    gaps = [later - before for before, later in zip(limiter.sent, limiter.sent[1:], strict=False)]
    least = [LIMITED_FLOOR * 2**tried for tried in range(tries - 1)]
    assert gaps == pytest.approx([max(pause, min(LIMITED_CEILING, floor)) for floor in least])


async def test_a_limited_user_holds_no_place_in_flight(homeserver: FakeSynapse, synapse: Synapse) -> None:
    """Other users' calls go on while as many as may be in flight wait for the limiter."""
    homeserver.intercepts = Limiter(4000)
    limited = [asyncio.create_task(synapse.set_display_name(ALICE, "Ada")) for _ in range(IN_FLIGHT)]
    began = passed()
    await asyncio.sleep(1)
    await synapse.deactivate(BOB, erase=False)
    assert passed() - began == pytest.approx(1)
    ends = await asyncio.gather(*limited, return_exceptions=True)
    assert {end.reason for end in ends if isinstance(end, TryAgain)} == {Reason.RATE_LIMITED}


# --- deadline


def clock_of(homeserver: FakeSynapse) -> Clock:
    return lambda: homeserver.now + timedelta(seconds=passed())


WRITES = {
    "deactivate": lambda s: s.deactivate(ALICE, erase=True),
    "set_display_name": lambda s: s.set_display_name(ALICE, "Ada"),
    "set_avatar": lambda s: s.set_avatar(ALICE, ""),
    "create": lambda s: s.create(ALICE, "Ada", "oidc-nova"),
    "upload": lambda s: s.upload(b"image", "image/png", ALICE),
    "delete_media": lambda s: s.delete_media("mxc://test.example/face"),
}


@pytest.mark.parametrize("write", WRITES)
async def test_after_the_deadline_nothing_is_written(homeserver: FakeSynapse, synapse: Synapse, write: str) -> None:
    limited = synapse.before(EPOCH, lambda: EPOCH)
    with pytest.raises(TryAgain) as caught:
        await WRITES[write](limited)
    assert (caught.value.reason, caught.value.in_doubt) == (Reason.TOO_SLOW, False)
    assert homeserver.requests == []
    assert await limited.account(ALICE) is not None
    assert await limited.probe() == homeserver.service_user


@pytest.mark.parametrize("write", WRITES)
async def test_before_the_deadline_it_is(homeserver: FakeSynapse, synapse: Synapse, write: str) -> None:
    await WRITES[write](synapse.before(EPOCH, lambda: EPOCH - timedelta(seconds=1)))
    assert len(homeserver.requests) == 1


async def test_no_retry_begins_after_the_deadline(homeserver: FakeSynapse, synapse: Synapse) -> None:
    """The first attempt was in time, and may have been carried out."""
    homeserver.intercepts = limiter = Limiter(2000)
    limited = synapse.before(homeserver.now + timedelta(seconds=passed() + 5), clock_of(homeserver))
    began = passed()
    with pytest.raises(TryAgain) as caught:
        await limited.set_display_name(ALICE, "Ada")
    assert (caught.value.reason, caught.value.in_doubt) == (Reason.TOO_SLOW, True)
    assert [at - began for at in limiter.sent] == pytest.approx([0, 2, 4])


async def test_a_copy_with_a_deadline_shares_the_limit_of_requests_in_flight(
    homeserver: FakeSynapse, synapse: Synapse
) -> None:
    now = most = 0

    async def before(_method: str, _path: str) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(1)
        now -= 1

    homeserver.before = before
    copies = [synapse.before(EPOCH, lambda: EPOCH) for _ in range(2)]
    await asyncio.gather(*(copy.account(ALICE) for copy in copies for _ in range(IN_FLIGHT)))
    assert most == IN_FLIGHT


async def test_a_client_may_have_fewer_requests_in_flight(homeserver: FakeSynapse) -> None:
    """The audit's, which runs next to the function's."""
    now = most = 0

    async def before(_method: str, _path: str) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(1)
        now -= 1

    homeserver.before = before
    async with homeserver.client() as http:
        synapse = Synapse(http, FakeTokens(ADMIN_TOKEN), homeserver.server_name, in_flight=4)
        await asyncio.gather(*(synapse.account(ALICE) for _ in range(20)))
    assert most == 4


# --- pages of lists


@pytest.mark.parametrize("after", [299, 301])
async def test_a_page_of_a_list_may_take_minutes_and_is_not_repeated(
    homeserver: FakeSynapse, synapse: Synapse, after: int
) -> None:
    """Synapse counts all rows for it, and goes on when its client has given up."""

    async def slow(_method: str, path: str) -> None:
        if path.endswith("/v2/users"):
            await asyncio.sleep(after)

    homeserver.before = slow
    if after < 300:
        assert len((await synapse.accounts(0, 10)).rows) == 2
    else:
        with pytest.raises(Rejected) as caught:
            await synapse.accounts(0, 10)
        assert caught.value.reason is Reason.SYNAPSE_ERROR
        assert passed() < 302


async def test_a_page_that_a_proxy_gave_up_is_not_repeated(homeserver: FakeSynapse, synapse: Synapse) -> None:
    homeserver.intercepts = lambda _, path: Response(status_code=504) if path.endswith("/v2/users") else None
    with pytest.raises(Rejected) as caught:
        await synapse.accounts(0, 10)
    assert caught.value.reason is Reason.SYNAPSE_ERROR
    assert [path for _, path in homeserver.requests].count("/_synapse/admin/v2/users") == 1


# --- the admin's own account


async def reason(synapse: Synapse) -> Reason | None:
    try:
        await synapse.probe()
    except TryAgain as failure:
        return failure.reason
    return None


@pytest.mark.parametrize("state", ["suspended", "locked"])
async def test_while_the_admin_account_is_unusable_the_probe_fails(
    homeserver: FakeSynapse, synapse: Synapse, state: str
) -> None:
    """A suspended admin reads, deletes and writes account data; only profiles fail. So the account itself is judged."""
    admin = homeserver.accounts[homeserver.service_user]
    admin[state] = True
    for _ in range(3):
        assert await reason(synapse) is Reason.ADMIN_SUSPENDED
    with pytest.raises(TryAgain) as caught:
        await synapse.set_display_name(ALICE, "Ada")
    assert (caught.value.reason, caught.value.in_doubt) == (Reason.ADMIN_SUSPENDED, False)
    admin[state] = False
    assert await reason(synapse) is None
    await synapse.set_display_name(ALICE, "Ada")


async def test_an_admin_who_was_demoted_is_the_tokens_fault(homeserver: FakeSynapse, synapse: Synapse) -> None:
    homeserver.accounts[homeserver.service_user]["admin"] = False
    assert await reason(synapse) is Reason.TOKEN_REFUSED
    for call in (synapse.set_display_name(ALICE, "Ada"), synapse.deactivate(ALICE, erase=True)):
        with pytest.raises(TryAgain) as caught:
            await call
        assert (caught.value.reason, caught.value.in_doubt) == (Reason.TOKEN_REFUSED, False)


async def test_an_upload_quota_makes_the_function_not_ready_until_it_is_lifted(
    homeserver: FakeSynapse, synapse: Synapse
) -> None:
    """The account does not show it: an upload of the same size is tried again, and deleted."""
    health = Health()
    health.failure = None
    homeserver.upload_limit = 1000
    with pytest.raises(TryAgain) as caught:
        await synapse.upload(bytes(2000), "image/png", ALICE)
    assert (caught.value.reason, caught.value.detail) == (Reason.ADMIN_LIMITED, "403 M_USER_LIMIT_EXCEEDED")
    health.report(caught.value)
    watch = asyncio.create_task(health.watch([synapse.probe]))
    await asyncio.sleep(10 * HOLD_SECONDS)
    assert health.failure is not None
    assert health.failure.reason is Reason.ADMIN_LIMITED
    uploads = [path for _, path in homeserver.requests if path.endswith("/upload")]
    assert 5 <= len(uploads) <= 11
    homeserver.upload_limit = 0
    await asyncio.sleep(2 * HOLD_SECONDS)
    assert health.failure is None
    assert homeserver.media == {}
    watch.cancel()


async def test_a_limit_of_another_request_is_tried_again_by_events(homeserver: FakeSynapse, synapse: Synapse) -> None:
    """A creation is no probe's business."""
    answers = [JSONResponse({"errcode": "M_RESOURCE_LIMIT_EXCEEDED"}, 403)]
    homeserver.intercepts = lambda method, path: (
        answers.pop() if answers and method == "PUT" and "/v2/users/" in path else None
    )
    with pytest.raises(TryAgain):
        await synapse.create(ALICE, "Ada", "oidc-nova")
    assert await reason(synapse) is Reason.ADMIN_LIMITED
    await asyncio.sleep(HOLD_SECONDS)
    assert await reason(synapse) is None


async def test_a_suspended_admin_does_not_stop_the_check_of_the_answer(
    homeserver: FakeSynapse, synapse: Synapse
) -> None:
    """The code alone is not believed: while the account is usable it is this request's."""
    homeserver.intercepts = lambda _, path: (
        JSONResponse({"errcode": "M_USER_SUSPENDED"}, 403) if path.endswith("/displayname") else None
    )
    with pytest.raises(Rejected) as caught:
        await synapse.set_display_name(ALICE, "Ada")
    assert (caught.value.reason, caught.value.detail) == (Reason.SYNAPSE_REFUSED, "PUT: 403 M_USER_SUSPENDED")
