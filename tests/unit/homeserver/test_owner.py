"""Who owns the accounts is asked, never guessed: half-work under Matrix Authentication Service is impossible."""

from datetime import timedelta

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from function.homeserver.synapse import Synapse
from function.outcomes import Reason, TryAgain
from tests.support.events import ALICE, BOB, EPOCH, created, deletion, password
from tests.support.harness import world
from tests.support.mas_world import mas_world

pytestmark = pytest.mark.anyio


async def failure_of(synapse: Synapse) -> TryAgain:
    with pytest.raises(TryAgain) as caught:
        await synapse.probe()
    return caught.value


async def test_mas_on_and_not_configured_is_not_ready() -> None:
    async with world(ALICE) as w:
        w.homeserver.delegates = True
        failure = await failure_of(w.client)
        assert (failure.reason, failure.detail) == (Reason.MAS_NOT_CONFIGURED, "MATRIX_MAS_URL is not set")


async def test_it_is_told_although_the_token_is_not_mas_s() -> None:
    """A token of before MAS is refused: that must not be the reason that shows."""
    async with world(ALICE) as w:
        w.homeserver.delegates = True
        w.homeserver.tokens.clear()
        assert (await failure_of(w.client)).reason is Reason.MAS_NOT_CONFIGURED


async def test_mas_configured_and_off_is_not_ready() -> None:
    async with mas_world(ALICE) as w:
        w.homeserver.delegates = False
        failure = await failure_of(w.client)
        assert (failure.reason, failure.detail) == (Reason.MAS_OFF, "MATRIX_MAS_URL is set")


async def test_each_owner_that_is_the_configured_one_is_ready() -> None:
    async with world(ALICE) as w:
        assert await w.client.probe() == w.homeserver.service_user
    async with mas_world(ALICE) as under_mas:
        assert await under_mas.client.probe() == under_mas.homeserver.service_user


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (PlainTextResponse("no such page", 404), Reason.SYNAPSE_UNEXPECTED),
        (JSONResponse({"errcode": "M_NOT_FOUND"}, 404), Reason.SYNAPSE_UNEXPECTED),
        (JSONResponse({}, 200), Reason.SYNAPSE_UNEXPECTED),
        (PlainTextResponse("<html>", 200), Reason.SYNAPSE_UNEXPECTED),
        (PlainTextResponse("", 502), Reason.SYNAPSE_UNAVAILABLE),
        (JSONResponse({"errcode": "M_UNKNOWN"}, 500), Reason.SYNAPSE_UNAVAILABLE),
    ],
)
async def test_an_answer_that_does_not_tell_is_taken_for_neither(answer: Response, reason: Reason) -> None:
    async with world(ALICE) as w:
        w.homeserver.intercepts = lambda _, path: answer if path.endswith("/auth_metadata") else None
        assert (await failure_of(w.client)).reason is reason


async def test_mas_that_is_switched_on_later_is_noticed() -> None:
    async with world(ALICE) as w:
        await w.client.probe()
        w.homeserver.delegates = True
        assert (await failure_of(w.client)).reason is Reason.MAS_NOT_CONFIGURED


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({}, Reason.MAS_UNAVAILABLE),
        ({"path": "/api", "status": 404}, Reason.MAS_UNEXPECTED),  # the listener has no `adminapi`
        ({"path": "/api", "status": 200}, Reason.MAS_UNEXPECTED),
        ({"path": "/api", "status": 403}, Reason.MAS_TOKEN_REFUSED),
        ({"path": "/api", "status": 503}, Reason.MAS_UNAVAILABLE),
    ],
)
async def test_a_mas_that_does_not_work_is_told_by_what_it_lacks(fault: dict[str, object], reason: Reason) -> None:
    async with mas_world(ALICE) as w:
        await w.at_mas.control("POST", "faults", fault)
        assert (await failure_of(w.client)).reason is reason


async def test_another_mas_than_that_of_synapse_is_not_ready() -> None:
    """It has none of the users, and each deletion would be one of Synapse alone."""
    async with mas_world(ALICE) as w:
        await w.at_mas.control("DELETE", "users/service")
        failure = await failure_of(w.client)
        assert (failure.reason, failure.detail) == (Reason.MAS_UNEXPECTED, "the token's owner is no user of this MAS")


async def test_a_mas_that_is_away_explains_why_synapse_does_not_tell() -> None:
    async with mas_world(ALICE) as w:
        failed = PlainTextResponse("", 502)
        w.homeserver.intercepts = lambda _, path: failed if path.endswith("/auth_metadata") else None
        assert (await failure_of(w.client)).reason is Reason.SYNAPSE_UNAVAILABLE
        await w.at_mas.control("POST", "faults", {})
        assert (await failure_of(w.client)).reason is Reason.MAS_UNAVAILABLE


async def test_a_dry_run_reads_both_sides_and_writes_neither() -> None:
    async with mas_world(ALICE, read_only=True) as w:
        await w.at_mas.session(ALICE, "compat", EPOCH - timedelta(hours=1))
        await w.process(created(BOB), password(), deletion(second=1, soft=False))
        assert w.homeserver.calls("PUT") + w.homeserver.calls("POST") == []
        assert await w.at_mas.writes() == []
        assert w.account()["deactivated"] is False
