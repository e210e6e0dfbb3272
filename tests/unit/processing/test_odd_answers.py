"""An answer that is not Synapse's own: the event's fault where Synapse works for others, everyone's where it does not."""

import pytest
from starlette.responses import HTMLResponse, JSONResponse, Response

from function.accounts.user_state import Status
from function.outcomes import Outcome, Reason
from tests.support.events import ALICE, BOB, deletion, password, profile
from tests.support.harness import Harness, world

pytestmark = pytest.mark.anyio

FACE = "https://cdn.example/face.png"
UNRECOGNIZED = JSONResponse({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}, 404)
MAINTENANCE = JSONResponse({"status": "maintenance"})


def answer(w: Harness, method: str, part: str, response: Response) -> None:
    """Answers one kind of request in the place of Synapse."""
    w.homeserver.intercepts = lambda verb, path: response if verb == method and part in path else None


@pytest.mark.parametrize(
    ("method", "part", "response", "reason"),
    [
        ("POST", "/upload", HTMLResponse("413 Request Entity Too Large", 413), Reason.UNEXPECTED_ANSWER),
        ("POST", "/upload", UNRECOGNIZED, Reason.SYNAPSE_REFUSED),
        ("PUT", "/displayname", HTMLResponse("blocked", 403), Reason.UNEXPECTED_ANSWER),
        ("PUT", "/displayname", JSONResponse({"errcode": "M_NOT_FOUND"}, 404), Reason.SYNAPSE_REFUSED),
        ("PUT", "/displayname", Response(status_code=302), Reason.UNEXPECTED_ANSWER),
        ("PUT", "/displayname", MAINTENANCE, Reason.UNEXPECTED_ANSWER),
        ("PUT", "/avatar_url", JSONResponse({"errcode": "M_FORBIDDEN_BY_MODULE"}, 403), Reason.SYNAPSE_REFUSED),
    ],
)
async def test_an_odd_answer_to_one_request_is_a_dead_letter(
    method: str, part: str, response: Response, reason: Reason
) -> None:
    """The other users of the batch go on, and the function stays ready."""
    async with world(ALICE, BOB) as w:
        w.avatars.images[FACE] = b"x" * 2_000_000
        answer(w, method, part, response)
        outcomes = await w.process(profile(ALICE, 1, avatar_url=FACE), deletion(BOB, 5))
        assert outcomes == [Outcome.DEAD_LETTER, Outcome.APPLIED]
        assert w.letters.reasons == [reason]
        assert w.health.failure is None


async def test_a_media_repository_elsewhere_does_not_hold_up_an_erasure() -> None:
    """The account is erased once; that the image could not be deleted is a dead letter."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        answer(w, "DELETE", "/media/", UNRECOGNIZED)
        assert await w.process(deletion(second=2, soft=False)) == [Outcome.DEAD_LETTER]
        assert w.account()["erased"] is True
        assert w.health.failure is None


async def test_a_page_that_answers_everything_with_200_is_no_success() -> None:
    """Nothing is lost: after it the same events are applied."""
    async with world(ALICE, BOB) as w:
        w.homeserver.devices[w.homeserver.mxid(BOB)] = ["PHONE"]
        batch = [deletion(ALICE, soft=False), profile(BOB, 1), password(BOB, 2)]
        w.homeserver.stands_in = MAINTENANCE
        assert await w.process(*batch) == [Outcome.RETRY] * 3
        assert w.health.failure
        assert w.health.failure.reason is Reason.SYNAPSE_UNEXPECTED
        assert w.letters.letters == []
        w.homeserver.stands_in, w.health.failure = None, None
        assert await w.process(*batch) == [Outcome.APPLIED] * 3
        assert w.account()["erased"] is True
        assert w.homeserver.devices[w.homeserver.mxid(BOB)] == []


async def test_a_suspended_admin_stops_the_flow_and_says_so() -> None:
    """Deletions would still work, and profiles not: neither is tried until it is over."""
    async with world(ALICE) as w:
        w.homeserver.accounts[w.homeserver.service_user]["suspended"] = True
        answer(w, "PUT", "/displayname", JSONResponse({"errcode": "M_USER_SUSPENDED"}, 403))
        assert await w.process(profile(ALICE, 1)) == [Outcome.RETRY]
        assert w.health.failure
        assert w.health.failure.reason is Reason.ADMIN_SUSPENDED
        assert w.letters.letters == []


async def test_a_deletion_that_synapse_refuses_says_that_the_person_is_still_there() -> None:
    """An identity server of one of the person's addresses is away. A replay ends the account."""
    async with world(ALICE) as w:
        answer(w, "POST", "/deactivate/", JSONResponse({"errcode": "M_UNKNOWN"}, 400))
        assert await w.process(deletion()) == [Outcome.DEAD_LETTER]
        assert w.letters.reasons == [Reason.DEACTIVATION_INCOMPLETE]
        assert w.state.record(ALICE).status is Status.DEACTIVATED
        w.homeserver.intercepts = None
        assert await w.process(deletion()) == [Outcome.APPLIED]
        assert w.account()["deactivated"] is True
