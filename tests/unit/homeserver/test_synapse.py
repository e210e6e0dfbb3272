"""What the contract tests can't arrange on a real Synapse: a stop halfway, two writers, versions and proxies."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest
from starlette.responses import JSONResponse, Response

from function.homeserver.synapse import Synapse
from function.outcomes import Reason, TryAgain
from tests.support.events import ALICE, BOB
from tests.support.fake_dapr import FakeTokens
from tests.support.fake_synapse import ADMIN_TOKEN, FakeSynapse

pytestmark = pytest.mark.anyio

PROVIDER = "oidc-nova"
MXC = "mxc://test.example/face"
LATER = datetime(2100, 1, 1, tzinfo=UTC)
UNRECOGNIZED = {"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}


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


def answering(path_end: str, status: int, body: object = None) -> Callable[[str, str], Response | None]:
    """Answers requests whose path ends like that in the place of Synapse; without a body, as a proxy does."""

    def intercept(_method: str, path: str) -> Response | None:
        if not path.endswith(path_end):
            return None
        return JSONResponse(body, status) if body is not None else Response("<html>", status)

    return intercept


def asked(homeserver: FakeSynapse, path_end: str) -> int:
    return sum(path.endswith(path_end) for _, path in homeserver.requests)


# --- sessions


async def test_tokens_that_a_stopped_synapse_left_are_ended_by_the_next_call(
    homeserver: FakeSynapse, synapse: Synapse
) -> None:
    """Synapse deletes the devices, stops, and lists none afterwards, while their tokens are still valid."""
    mxid = homeserver.mxid(ALICE)
    homeserver.devices[mxid] = ["PHONE"]
    homeserver.tokens["session"], homeserver.sessions["session"] = mxid, (mxid, "PHONE")

    async def stop_halfway(_method: str, path: str) -> None:
        if path.endswith("/delete_devices") and homeserver.devices[mxid]:
            homeserver.devices[mxid], homeserver.down = [], True

    homeserver.before = stop_halfway
    with pytest.raises(TryAgain) as caught:
        await synapse.end_sessions(ALICE, LATER)
    assert (caught.value.reason, caught.value.in_doubt) == (Reason.SYNAPSE_UNAVAILABLE, True)
    homeserver.down = False
    assert "session" in homeserver.tokens
    assert await synapse.before(LATER, lambda: datetime(2000, 1, 1, tzinfo=UTC)).end_sessions(ALICE, LATER) is True
    assert "session" not in homeserver.tokens
    assert await synapse.end_sessions(ALICE, LATER) is False


async def test_ending_sessions_takes_two_requests_and_one_where_there_is_none(
    homeserver: FakeSynapse, synapse: Synapse
) -> None:
    homeserver.devices[homeserver.mxid(ALICE)] = ["PHONE", "LAPTOP", "TABLET"]
    await synapse.end_sessions(ALICE, LATER)
    await synapse.end_sessions(BOB, LATER)
    assert [method for method, _ in homeserver.requests] == ["GET", "POST", "GET"]


# --- identities


async def test_a_second_writer_who_was_quicker_is_no_conflict(homeserver: FakeSynapse, synapse: Synapse) -> None:
    """PostgreSQL refuses the second of two equal identities, although it belongs to the same account."""
    mxid, taken = homeserver.mxid(ALICE), {"errcode": "M_UNKNOWN", "error": "External id is already in use."}

    def intercept(method: str, _path: str) -> Response | None:
        if method != "PUT":
            return None
        homeserver.identities[PROVIDER, ALICE] = mxid
        return JSONResponse(taken, 409)

    homeserver.intercepts = intercept
    assert await synapse.link(ALICE, PROVIDER) is True
    homeserver.identities.clear()
    assert (await synapse.create(ALICE, "Ada", PROVIDER)).linked is True


async def test_a_linked_account_costs_one_request(homeserver: FakeSynapse, synapse: Synapse) -> None:
    homeserver.identities[PROVIDER, ALICE] = homeserver.mxid(ALICE)
    assert await synapse.link(ALICE, PROVIDER) is True
    assert [method for method, _ in homeserver.requests] == ["GET"]


# --- what a version of Synapse may not tell


@pytest.mark.parametrize("status", [404, 405])
async def test_a_call_that_this_synapse_does_not_have_is_not_made_again(
    homeserver: FakeSynapse, synapse: Synapse, status: int
) -> None:
    """Before 1.140 another method has the path of a file: 405. The answer is remembered while the process runs."""
    homeserver.media[MXC] = b""
    for call, end, unknown in (
        (synapse.room_work, "/scheduled_tasks", False),
        (synapse.media_exists, "/face", True),
        (synapse.uploaded_by, "/face", None),
    ):
        homeserver.requests.clear()
        homeserver.intercepts = answering(end, status, UNRECOGNIZED)
        argument = ALICE if call == synapse.room_work else MXC
        assert await call(argument) is unknown
        first = asked(homeserver, end)
        assert first == 2  # before and after the probe
        assert await call(argument) is unknown
        assert await getattr(synapse.before(LATER, lambda: LATER), call.__name__)(argument) is unknown
        assert asked(homeserver, end) == first


async def test_a_proxy_that_refuses_the_question_is_asked_again(homeserver: FakeSynapse, synapse: Synapse) -> None:
    """It says nothing of the version, and no event fails for it."""
    for user in (ALICE, BOB):
        homeserver.intercepts = answering("/scheduled_tasks", 403)
        assert await synapse.room_work(user) is False
        homeserver.intercepts = None
        homeserver.room_work[homeserver.mxid(user)] = 1
        assert await synapse.room_work(user) is True


async def test_tasks_that_have_ended_are_no_room_work(homeserver: FakeSynapse, synapse: Synapse) -> None:
    """Earlier versions list them, whatever status is asked for."""
    tasks = [{"action": "update_join_states", "status": status} for status in ("complete", "failed", "cancelled")]
    homeserver.intercepts = answering("/scheduled_tasks", 200, {"scheduled_tasks": tasks})
    assert await synapse.room_work(ALICE) is False
    tasks.append({"action": "update_join_states", "status": "scheduled"})
    assert await synapse.room_work(ALICE) is True


async def test_during_an_outage_the_question_waits(homeserver: FakeSynapse, synapse: Synapse) -> None:
    """A Synapse that can't answer now may answer later."""
    homeserver.down = True
    with pytest.raises(TryAgain):
        await synapse.room_work(ALICE)
    homeserver.down = False
    homeserver.room_work[homeserver.mxid(ALICE)] = 1
    assert await synapse.room_work(ALICE) is True
