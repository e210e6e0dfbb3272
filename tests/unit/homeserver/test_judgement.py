"""Whose fault is a failure: each kind of answer to each operation, alone and from everything at Synapse's address."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from function.homeserver.account import Account
from function.homeserver.judgement import DoubtError, is_own, judged, may_be_applied, probe_failure
from function.homeserver.messages import EMPTY, Answer, Expected, having, named
from function.homeserver.synapse import Synapse
from function.operations import Operation
from function.outcomes import Reason, Rejected, TryAgain
from tests.support.events import ALICE
from tests.support.fake_dapr import FakeTokens
from tests.support.fake_synapse import ADMIN_TOKEN, FakeSynapse
from tests.support.virtual_time import VIRTUAL_TIME

pytestmark = pytest.mark.anyio

Call = Callable[[Synapse], Awaitable[object]]
Answers = Callable[[], Response]


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return VIRTUAL_TIME


@dataclass(frozen=True)
class Made:
    """One operation: its call, its request (`path` is the end of it, a pattern), whether 404 M_NOT_FOUND is an answer to it,
    and the reason when it is refused."""

    call: Call
    method: str
    path: str
    absent: bool = False
    refused: Reason = Reason.SYNAPSE_REFUSED

    def matches(self, method: str, path: str) -> bool:
        return method == self.method and re.search(f"{self.path}$", path) is not None


OPERATIONS = {
    "account": Made(lambda s: s.account(ALICE), "GET", "/v2/users/@nova-[^/]+", absent=True),
    "accounts": Made(lambda s: s.accounts(0, 10), "GET", "/v2/users"),
    "uploads": Made(lambda s: s.uploads("@service:test.example", 0, 10), "GET", "/users/@service[^/]+/media"),
    "joined_rooms": Made(lambda s: s.joined_rooms(ALICE), "GET", "/joined_rooms"),
    "rate_limit": Made(lambda s: s.rate_limit("@service:test.example"), "GET", "/override_ratelimit"),
    "deactivate": Made(
        lambda s: s.deactivate(ALICE, erase=False), "POST", "/deactivate/[^/]+", True, Reason.DEACTIVATION_INCOMPLETE
    ),
    "erase": Made(
        lambda s: s.deactivate(ALICE, erase=True), "POST", "/deactivate/[^/]+", True, Reason.DEACTIVATION_INCOMPLETE
    ),
    "set_display_name": Made(lambda s: s.set_display_name(ALICE, "Ada"), "PUT", "/displayname"),
    "set_avatar": Made(lambda s: s.set_avatar(ALICE, "mxc://test.example/face"), "PUT", "/avatar_url"),
    "create": Made(lambda s: s.create(ALICE, "Ada", "oidc-nova"), "PUT", "/v2/users/@nova-[^/]+"),
    "upload": Made(lambda s: s.upload(b"image", "image/png", ALICE), "POST", "/upload"),
    "delete_media": Made(
        lambda s: s.delete_media("mxc://test.example/face"), "DELETE", "/media/test.example/face", absent=True
    ),
}


@dataclass(frozen=True)
class Case:
    """One kind of answer to one request: the reason, whether a write is in doubt, and how often the request is sent.

    `everywhere` is the reason if everything at the address answers so.
    """

    answer: Answers
    reason: Reason | None
    in_doubt: bool
    tries: int
    everywhere: Reason


def matrix(status: int, errcode: str) -> Answers:
    return lambda: JSONResponse({"errcode": errcode, "error": "said by a test"}, status)


def page(status: int) -> Answers:
    return lambda: HTMLResponse("<h1>a proxy's page</h1>", status)


def failing(error: Exception) -> Answers:
    def raised() -> Response:
        raise error

    return raised


PROXY, BROKEN, SYNAPSE_DOWN = Reason.UNEXPECTED_ANSWER, Reason.SYNAPSE_UNEXPECTED, Reason.SYNAPSE_UNAVAILABLE
REFUSED = None  # the operation's own reason
ANSWERS = {
    "413 of a proxy": Case(page(413), PROXY, True, 2, BROKEN),
    "403 of a firewall": Case(page(403), PROXY, True, 2, BROKEN),
    "401 of a proxy": Case(page(401), PROXY, True, 2, BROKEN),
    "404 of a proxy": Case(page(404), PROXY, True, 2, BROKEN),
    "408 of a proxy": Case(page(408), PROXY, True, 2, BROKEN),
    "redirect": Case(lambda: RedirectResponse("https://elsewhere.test"), PROXY, True, 2, BROKEN),
    "maintenance as JSON": Case(lambda: JSONResponse({"status": "maintenance"}), PROXY, True, 2, BROKEN),
    "maintenance page": Case(page(200), PROXY, True, 2, BROKEN),
    "list": Case(lambda: JSONResponse([]), PROXY, True, 2, BROKEN),
    "no content": Case(lambda: Response(status_code=204), PROXY, True, 2, BROKEN),
    "unknown token": Case(matrix(401, "M_UNKNOWN_TOKEN"), REFUSED, False, 2, Reason.TOKEN_REFUSED),
    "locked": Case(matrix(401, "M_USER_LOCKED"), REFUSED, False, 2, Reason.ADMIN_SUSPENDED),
    "unrecognized": Case(matrix(404, "M_UNRECOGNIZED"), REFUSED, False, 2, BROKEN),
    "method unrecognized": Case(matrix(405, "M_UNRECOGNIZED"), REFUSED, False, 2, BROKEN),
    "forbidden": Case(matrix(403, "M_FORBIDDEN"), REFUSED, False, 2, Reason.TOKEN_REFUSED),
    "forbidden on a profile": Case(matrix(400, "M_FORBIDDEN"), REFUSED, False, 2, Reason.TOKEN_REFUSED),
    "suspended": Case(matrix(403, "M_USER_SUSPENDED"), REFUSED, False, 2, Reason.ADMIN_SUSPENDED),
    "expired": Case(matrix(403, "ORG_MATRIX_EXPIRED_ACCOUNT"), REFUSED, False, 2, Reason.ADMIN_SUSPENDED),
    "403 of another code": Case(matrix(403, "M_BAD_STATE"), REFUSED, False, 2, BROKEN),
    "418": Case(matrix(418, "M_UNKNOWN"), REFUSED, False, 2, BROKEN),
    "500": Case(matrix(500, "M_UNKNOWN"), Reason.SYNAPSE_ERROR, True, 4, SYNAPSE_DOWN),
    "502 of a proxy": Case(page(502), Reason.SYNAPSE_ERROR, True, 4, SYNAPSE_DOWN),
    "522 of a proxy": Case(page(522), Reason.SYNAPSE_ERROR, True, 4, SYNAPSE_DOWN),
    "cut": Case(failing(httpx.ReadError("cut")), Reason.SYNAPSE_ERROR, True, 4, SYNAPSE_DOWN),
    "garbled": Case(failing(httpx.RemoteProtocolError("?")), Reason.SYNAPSE_ERROR, True, 4, SYNAPSE_DOWN),
    "late": Case(failing(httpx.ReadTimeout("late")), Reason.SYNAPSE_ERROR, True, 2, SYNAPSE_DOWN),
    "no connection": Case(failing(httpx.ConnectError("no")), SYNAPSE_DOWN, False, 4, SYNAPSE_DOWN),
    "429 of a proxy": Case(page(429), Reason.RATE_LIMITED, True, 10, BROKEN),
}  # fmt: skip
DEFINITE = {"400": (400, "M_UNKNOWN"), "400 of JSON": (400, "M_NOT_JSON"), "413": (413, "M_TOO_LARGE")}


class Limits:
    """Answers one operation's requests in the place of Synapse, and counts them."""

    def __init__(self, made: Made, answer: Answers) -> None:
        self.made, self.answer, self.sent = made, answer, 0

    def __call__(self, method: str, path: str) -> Response | None:
        if not self.made.matches(method, path):
            return None
        self.sent += 1
        return self.answer()


@pytest.fixture
def homeserver() -> FakeSynapse:
    found = FakeSynapse()
    found.add(found.mxid(ALICE))
    return found


@pytest.fixture
async def synapse(homeserver: FakeSynapse) -> AsyncIterator[Synapse]:
    async with homeserver.client() as http:
        yield Synapse(http, FakeTokens(ADMIN_TOKEN), homeserver.server_name)


async def failure(call: Awaitable[object]) -> Rejected | TryAgain:
    with pytest.raises((Rejected, TryAgain)) as caught:
        await call
    assert isinstance(caught.value, Rejected | TryAgain)
    return caught.value


def probes(homeserver: FakeSynapse) -> int:
    return sum(path.endswith("/whoami") for _, path in homeserver.requests)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_answer_to_one_request_only_is_that_requests_fault(
    homeserver: FakeSynapse, synapse: Synapse, operation: str, answer: str
) -> None:
    """Probed before and after one more try: a dead letter, not a function that waits without end."""
    made, case = OPERATIONS[operation], ANSWERS[answer]
    homeserver.intercepts = limits = Limits(made, case.answer)
    ended = await failure(made.call(synapse))
    assert ended.reason is (case.reason or made.refused)
    assert isinstance(ended, TryAgain) is ended.reason.retried
    assert ended.in_doubt is (case.in_doubt and made.method != "GET")
    # No second POST next to the first, and no second page: its caller asks for a shorter one.
    page_of_list = operation in {"accounts", "uploads"}
    once = answer == "late" and (page_of_list or made.refused is Reason.DEACTIVATION_INCOMPLETE)
    assert limits.sent == (1 if once else case.tries)
    assert probes(homeserver) == (0 if ended.reason is Reason.RATE_LIMITED else 1 if once and page_of_list else 2)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_answer_to_every_request_is_no_events_fault(
    homeserver: FakeSynapse, synapse: Synapse, operation: str, answer: str
) -> None:
    made, case = OPERATIONS[operation], ANSWERS[answer]
    homeserver.intercepts = lambda _method, _path: case.answer()
    ended = await failure(made.call(synapse))
    assert isinstance(ended, TryAgain)
    assert ended.reason is (Reason.RATE_LIMITED if answer.startswith("429") else case.everywhere)
    assert ended.in_doubt is (case.in_doubt and made.method != "GET")
    assert (await failure(synapse.probe())).reason is case.everywhere


@pytest.mark.parametrize("answer", DEFINITE)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_refusal_of_synapses_own_is_final_at_once(
    homeserver: FakeSynapse, synapse: Synapse, operation: str, answer: str
) -> None:
    made = OPERATIONS[operation]
    homeserver.intercepts = limits = Limits(made, matrix(*DEFINITE[answer]))
    ended = await failure(made.call(synapse))
    assert isinstance(ended, Rejected)
    status, code = DEFINITE[answer]
    assert (ended.reason, ended.detail, ended.in_doubt) == (made.refused, f"{status} {code}", False)
    assert (limits.sent, probes(homeserver)) == (1, 0)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_not_found_means_no_account_only_where_it_can(
    homeserver: FakeSynapse, synapse: Synapse, operation: str
) -> None:
    """A profile write that "did not find" has not been done."""
    made = OPERATIONS[operation]
    homeserver.intercepts = limits = Limits(made, matrix(404, "M_NOT_FOUND"))
    if made.absent:
        assert await made.call(synapse) in {None, False}
        assert limits.sent == 1
        return
    ended = await failure(made.call(synapse))
    assert isinstance(ended, Rejected)
    assert (ended.reason, ended.detail) == (Reason.SYNAPSE_REFUSED, f"{made.method}: 404 M_NOT_FOUND")
    assert limits.sent == 2


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_answer_that_is_right_the_next_time_is_an_answer(
    homeserver: FakeSynapse, synapse: Synapse, operation: str
) -> None:
    made = OPERATIONS[operation]
    later = iter([HTMLResponse("a restart of the proxy", 403)])
    homeserver.intercepts = limits = Limits(made, lambda: next(later, None))  # type: ignore[arg-type,return-value]
    await made.call(synapse)
    assert limits.sent == 2


async def test_a_homeserver_that_fails_between_the_two_probes_is_at_fault(
    homeserver: FakeSynapse, synapse: Synapse
) -> None:
    def answer(method: str, path: str) -> Response | None:
        if path.endswith("/whoami") and probes(homeserver) > 1:
            return page(502)()
        return page(413)() if path.endswith("/upload") else None

    homeserver.intercepts = answer
    ended = await failure(synapse.upload(b"image", "image/png", ALICE))
    assert isinstance(ended, TryAgain)
    assert (ended.reason, ended.in_doubt) == (SYNAPSE_DOWN, True)


async def test_an_account_under_another_id_is_no_answer(homeserver: FakeSynapse, synapse: Synapse) -> None:
    """A cache that answers for another user must not make this one look deleted."""
    other = dict(homeserver.accounts[homeserver.service_user], deactivated=True)
    homeserver.intercepts = Limits(OPERATIONS["account"], lambda: JSONResponse(other))
    assert (await failure(synapse.account(ALICE))).reason is Reason.UNEXPECTED_ANSWER


@pytest.mark.parametrize("result", ["success", "no-support"])
async def test_a_deactivation_without_an_identity_server_is_a_success(
    homeserver: FakeSynapse, synapse: Synapse, result: str
) -> None:
    """Synapse could unbind no third-party id, and has deactivated the account."""
    homeserver.intercepts = Limits(OPERATIONS["deactivate"], lambda: JSONResponse({"id_server_unbind_result": result}))
    assert await synapse.deactivate(ALICE, erase=True) is True


async def test_a_detail_holds_no_text_of_the_answer(homeserver: FakeSynapse, synapse: Synapse) -> None:
    """It is logged and published: an error code that is none could be anything."""
    homeserver.intercepts = Limits(OPERATIONS["set_display_name"], matrix(403, "Ada Lovelace"))
    assert (await failure(synapse.set_display_name(ALICE, "Ada"))).detail == "PUT: 403"


async def test_an_attempt_in_doubt_stays_so_after_a_refusal(homeserver: FakeSynapse, synapse: Synapse) -> None:
    """The first one may still arrive at Synapse."""
    answers = iter([page(502)(), matrix(400, "M_UNKNOWN")()])
    homeserver.intercepts = Limits(OPERATIONS["set_display_name"], lambda: next(answers))
    ended = await failure(synapse.set_display_name(ALICE, "Ada"))
    assert (ended.reason, ended.in_doubt) == (Reason.SYNAPSE_REFUSED, True)


# --- requests that are not answered in time


class Hanging:
    """Lets the requests of one operation wait without end, after `first` was called."""

    def __init__(self, made: Made, first: Callable[[], object] = lambda: None) -> None:
        self.made, self.first, self.sent = made, first, 0

    async def __call__(self, method: str, path: str) -> None:
        if self.made.matches(method, path):
            self.sent += 1
            self.first()
            await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("operation", "seconds"),
    [("deactivate", 40), ("erase", 40), ("upload", 60), ("set_display_name", 20), ("account", 20)],
)
async def test_each_operation_has_the_time_that_it_needs(
    homeserver: FakeSynapse, synapse: Synapse, operation: str, seconds: int
) -> None:
    """Twice, but for a deactivation, which Synapse carries on with."""
    made = OPERATIONS[operation]
    homeserver.before = Hanging(made)
    began = asyncio.get_running_loop().time()
    ended = await failure(made.call(synapse))
    assert ended.reason is Reason.SYNAPSE_ERROR
    assert asyncio.get_running_loop().time() - began == pytest.approx(seconds, abs=1)


@pytest.mark.parametrize(
    ("erase", "state", "done"),
    [
        (False, {"deactivated": True}, True),
        (True, {"deactivated": True, "erased": True, "displayname": None}, True),
        (True, {"deactivated": True, "displayname": None}, False),
        (True, {"deactivated": True, "erased": True, "displayname": "Back"}, False),
        (False, {}, False),
    ],
    ids=["deactivated", "erased", "not yet erased", "a name is back", "still active"],
)
async def test_after_a_slow_deactivation_the_account_tells(
    homeserver: FakeSynapse, synapse: Synapse, erase: bool, state: dict[str, object], done: bool
) -> None:
    """Never a second request next to the first."""
    account = homeserver.accounts[homeserver.mxid(ALICE)]
    homeserver.before = hanging = Hanging(OPERATIONS["deactivate"], lambda: account.update(state))
    if done:
        assert await synapse.deactivate(ALICE, erase=erase) is True
    else:
        ended = await failure(synapse.deactivate(ALICE, erase=erase))
        assert isinstance(ended, Rejected)
        assert (ended.reason, ended.in_doubt) == (Reason.SYNAPSE_ERROR, True)
        assert probes(homeserver) == 2
    assert hanging.sent == 1


async def test_a_slow_deactivation_of_no_account_finds_none(homeserver: FakeSynapse, synapse: Synapse) -> None:
    homeserver.accounts.pop(homeserver.mxid(ALICE))
    homeserver.before = Hanging(OPERATIONS["deactivate"])
    assert await synapse.deactivate(ALICE, erase=True) is False


async def test_a_look_that_fails_leaves_the_deactivation_in_doubt(homeserver: FakeSynapse, synapse: Synapse) -> None:
    homeserver.before = Hanging(OPERATIONS["deactivate"])
    homeserver.intercepts = Limits(OPERATIONS["account"], matrix(500, "M_UNKNOWN"))
    ended = await failure(synapse.deactivate(ALICE, erase=True))
    assert (ended.reason, ended.in_doubt) == (Reason.SYNAPSE_ERROR, True)


# --- what is read of an account


@pytest.mark.parametrize(
    ("provider", "linked"), [("", None), ("oidc-nova", True), ("oidc-other", False)], ids=["not asked", "yes", "no"]
)
async def test_an_account_says_whether_its_identity_is_linked(
    homeserver: FakeSynapse, synapse: Synapse, provider: str, linked: bool | None
) -> None:
    await synapse.create(ALICE, "Ada", "oidc-nova")
    assert await synapse.account(ALICE, provider) == Account(display_name="Ada", linked=linked)


async def test_creating_returns_the_account_that_synapse_describes(homeserver: FakeSynapse, synapse: Synapse) -> None:
    """It may have been there, and be deactivated."""
    homeserver.accounts[homeserver.mxid(ALICE)]["deactivated"] = True
    created = await synapse.create(ALICE, "Ada", "oidc-nova")
    assert created == Account(deactivated=True, display_name="Ada", linked=True)


# --- any answer at all

CODES = st.sampled_from(
    ["", "M_UNKNOWN", "M_FORBIDDEN", "M_NOT_FOUND", "M_USER_LOCKED", "M_USER_LIMIT_EXCEEDED", "Ada!"]
)
BODIES = st.dictionaries(
    st.sampled_from(["name", "errcode", "error", "content_uri"]), st.text() | st.none(), max_size=3
)
EXPECTATIONS = st.sampled_from([EMPTY, having("content_uri", str), named("@a:b", absent=True)])


@given(st.integers(200, 599), BODIES, CODES, EXPECTATIONS, st.sampled_from(Operation))
def test_any_answer_is_success_refusal_or_doubt(
    status: int, body: dict[str, str | None], code: str, expected: Expected, operation: Operation
) -> None:
    """Success only with the mark, a dead letter at once only by Synapse's own code, and details of statuses and codes only."""
    answer = Answer(status, body | ({"errcode": code} if code else {}))
    if is_own(answer, expected):
        assert expected.mark(answer.body) if status < 300 else (expected.absent and status == 404)
        return
    ended = judged(answer, operation)
    if isinstance(ended, Rejected):
        assert status in {400, 409, 413}
        assert answer.errcode
        assert not may_be_applied(answer)
    text = ended.what if isinstance(ended, DoubtError) else ended.detail
    assert re.fullmatch(r"\d{3}( [A-Z][A-Z0-9_.]+| without (a JSON object|the fields of its operation))?", text)
    assert probe_failure(answer).reason.dependency
