"""Answers at MAS's address that are not MAS's own, or lack what an operation reads: none of them is believed."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from function.homeserver.client_credentials import ClientCredentials
from function.homeserver.mas import Mas
from function.homeserver.transport import HttpClient
from function.outcomes import Reason, Rejected, TryAgain
from tests.support.events import ALICE, EPOCH
from tests.support.fake_dapr import FakeTokens
from tests.support.mas_world import FakeSecret

pytestmark = pytest.mark.anyio

ULID = "01HFVBY12TMNTYTBV8W921M5FA"
NAME = f"nova-{ALICE}"


def mas(odd: Callable[[], httpx.Response]) -> Mas:
    """Returns a client of a MAS that works, except for what it answers to anything but the probe."""

    def answer(request: httpx.Request) -> httpx.Response:
        probed = request.url.path.endswith("/users")
        return httpx.Response(200, json={"data": []}) if probed else odd()

    return Mas(HttpClient(httpx.MockTransport(answer), "http://mas.example", "tests"), FakeTokens("token"))


def odd_user(**attributes: object) -> dict[str, Any]:
    return {"data": {"type": "user", "id": ULID, "attributes": attributes}}


@pytest.mark.parametrize(
    "odd",
    [
        lambda: httpx.Response(200, html="<p>Sign in"),
        lambda: httpx.Response(204),
        lambda: httpx.Response(302, headers={"Location": "/login"}),
        lambda: httpx.Response(200, content=b'{"data":{"type":"user"'),
        lambda: httpx.Response(200, json={"data": None}),
        lambda: httpx.Response(200, json={"data": {"type": "user", "id": ULID}}),
        lambda: httpx.Response(200, json=odd_user()),
        lambda: httpx.Response(200, json=odd_user(username=None)),
        lambda: httpx.Response(404, html="<p>Not found"),
    ],
)
async def test_an_odd_answer_is_not_believed_to_say_that_there_is_no_user(odd: Callable[[], httpx.Response]) -> None:
    with pytest.raises(Rejected) as caught:
        await mas(odd).user(NAME)
    assert caught.value.reason is Reason.UNEXPECTED_ANSWER


@pytest.mark.parametrize("row", [None, {}, {"type": "upstream-oauth-link", "id": ULID}, {"id": 7, "attributes": {}}])
async def test_a_row_of_a_list_without_what_is_read_is_an_odd_answer_too(row: object) -> None:
    odd = mas(lambda: httpx.Response(200, json={"data": [row]}))
    with pytest.raises(Rejected) as caught:
        await odd.linked(ULID, ULID, ALICE)
    assert caught.value.reason is Reason.UNEXPECTED_ANSWER


@pytest.mark.parametrize("row", [None, {}, {"id": 7}])
async def test_a_session_without_an_id_is_an_odd_answer_too(row: object) -> None:
    odd = mas(lambda: httpx.Response(200, json={"data": [row]}))
    with pytest.raises(Rejected) as caught:
        await odd.end_sessions(ULID, EPOCH)
    assert caught.value.reason is Reason.UNEXPECTED_ANSWER


async def test_a_link_of_nobody_is_nobodys() -> None:
    row = {"type": "upstream-oauth-link", "id": ULID, "attributes": {"user_id": None}}
    assert await mas(lambda: httpx.Response(200, json={"data": [row]})).linked(ULID, ULID, ALICE) is False


async def test_a_limit_of_a_proxy_is_no_other_service_at_its_address() -> None:
    limited = httpx.MockTransport(lambda _: httpx.Response(429, headers={"Retry-After": "3"}, text="slow down"))
    http = HttpClient(limited, "http://mas.example", "tests")
    for ask in (Mas(http, FakeTokens("token")).probe, ClientCredentials(http, FakeSecret()).token):
        with pytest.raises(TryAgain) as caught:
            await ask()
        assert caught.value.reason is Reason.MAS_UNAVAILABLE
