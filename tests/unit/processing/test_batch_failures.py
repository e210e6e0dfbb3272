"""Failing dependencies, refused requests and bugs: which events are retried and which are dead-lettered."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import pytest
from anyio.lowlevel import checkpoint
from starlette.responses import HTMLResponse, JSONResponse, Response

from function.accounts.plan import Decision, decide
from function.accounts.user_state import UserState
from function.events.types import Event, ProfileUpdated
from function.homeserver.requests import IN_FLIGHT
from function.kafka.record import KafkaRecord
from function.outcomes import Outcome, Reason
from tests.support.events import (
    ALICE,
    BOB,
    CAROL,
    deletion,
    delivered,
    profile,
)
from tests.support.harness import Harness, world

pytestmark = pytest.mark.anyio

GET, PUT, POST = "GET", "PUT", "POST"


def methods(w: Harness) -> list[str]:
    return [method for method, _ in w.homeserver.calls()]


async def test_while_synapse_is_down_every_event_is_retried_and_none_is_a_dead_letter() -> None:
    """The backlog stays in Kafka; no request is made until a probe passes."""
    async with world(ALICE, BOB) as w:
        w.homeserver.down = True
        assert await w.process(deletion(ALICE), profile(BOB)) == [Outcome.RETRY, Outcome.RETRY]
        assert w.letters.letters == []
        assert w.health.failure is not None
        assert w.health.failure.reason is Reason.SYNAPSE_UNAVAILABLE
        tried = len(w.homeserver.requests)
        assert await w.process(deletion(ALICE), delivered(b"broken")) == [Outcome.RETRY, Outcome.RETRY]
        assert len(w.homeserver.requests) == tried
        w.homeserver.down, w.health.failure = False, None
        assert await w.process(deletion(ALICE), profile(BOB)) == [Outcome.APPLIED, Outcome.APPLIED]


async def test_with_a_refused_token_every_event_is_retried() -> None:
    """Until the secret is right again, which needs no restart."""
    async with world(ALICE) as w:
        w.homeserver.tokens = {"rotated": w.homeserver.service_user}
        assert await w.process(deletion()) == [Outcome.RETRY]
        assert w.letters.letters == []
        assert w.health.failure is not None
        assert w.health.failure.reason is Reason.TOKEN_REFUSED
        w.tokens.now, w.health.failure = "rotated", None
        assert await w.process(deletion()) == [Outcome.APPLIED]


@pytest.mark.parametrize("event", [deletion, profile])
async def test_a_call_that_fails_for_one_user_only_is_that_events_dead_letter(
    event: Callable[..., KafkaRecord],
) -> None:
    """Synapse works for other users, so a retry would only block the partition."""
    async with world(ALICE, BOB, CAROL) as w:
        w.homeserver.failing_for.add(w.homeserver.mxid(BOB))
        fates = await w.process(event(ALICE), event(BOB), event(CAROL))
        assert fates == [Outcome.APPLIED, Outcome.DEAD_LETTER, Outcome.APPLIED]
        assert w.letters.reasons == [Reason.SYNAPSE_ERROR]
        assert w.health.failure is None


async def test_a_deletion_that_failed_is_saved_all_the_same() -> None:
    """Its dead letter waits for a person; until then no profile may be written to the deleted user, and any event of the
    user tries the deletion again."""
    async with world(ALICE) as w:
        await w.process(profile(second=1))
        w.homeserver.failing_for.add(w.homeserver.mxid(ALICE))
        await w.process(profile(second=1), deletion(second=2, soft=False))
        w.homeserver.failing_for.clear()
        assert await w.process(profile(second=3, display_name="Back")) == [Outcome.STALE]
        assert (w.account()["displayname"], w.account()["erased"]) == (None, True)


async def test_a_short_outage_of_synapse_is_bridged_by_quick_retries() -> None:
    """A few quick tries are cheaper than a batch that comes again."""
    async with world(ALICE) as w:
        w.homeserver.before = failing_first(w, 2)
        assert await w.process(deletion()) == [Outcome.APPLIED]


async def test_the_rate_limiter_is_waited_for() -> None:
    """A limited write may have been applied already, and is repeated all the same."""
    async with world(ALICE) as w:
        w.homeserver.limited = 3
        assert await w.process(profile()) == [Outcome.APPLIED]
        assert methods(w) == [GET, PUT, PUT, PUT, PUT]


@pytest.mark.parametrize("pause", [60_000, 10**15])
async def test_a_rate_limiter_that_asks_for_too_long_a_pause_delays_only_that_user(pause: int) -> None:
    """Only this user: the limit is per user, and Synapse is healthy."""
    async with world(ALICE, BOB) as w:
        w.homeserver.limited, w.homeserver.retry_after_ms = 1, pause
        w.homeserver.add(w.homeserver.mxid(BOB))
        assert await w.process(profile(ALICE), deletion(BOB)) == [Outcome.RETRY, Outcome.APPLIED]
        assert w.health.failure is None
        # The limiter answers after the write: the look that a repeated event costs finds it done.
        assert await w.process(profile(ALICE)) == [Outcome.UNCHANGED]


async def test_while_the_state_store_is_down_every_event_is_retried() -> None:
    """Without the state it is unknown which events are stale."""
    async with world(ALICE) as w:
        w.state.down = True
        assert await w.process(deletion(), delivered(b"broken")) == [Outcome.RETRY, Outcome.RETRY]
        assert w.homeserver.requests == []
        assert w.letters.letters == []
        assert w.health.failure is not None
        assert w.health.failure.reason is Reason.STATE_UNAVAILABLE


async def test_an_event_whose_dead_letter_cannot_be_published_is_retried() -> None:
    """Answering SUCCESS first would lose it; the batch's others are done."""
    async with world(ALICE) as w:
        w.letters.down = True
        assert await w.process(delivered(b"broken"), deletion()) == [Outcome.RETRY, Outcome.APPLIED]
        w.letters.down = False
        assert await w.process(delivered(b"broken")) == [Outcome.DEAD_LETTER]


async def test_a_users_dead_letter_that_cannot_be_published_is_the_same_when_it_comes_again() -> None:
    """Its record is saved by then: the redelivery must not look unchanged."""
    async with world(ALICE) as w:
        w.homeserver.refused_names.add("Rude")
        w.letters.down = True
        rude = profile(display_name="Rude")
        assert await w.process(rude) == [Outcome.RETRY]
        w.letters.down = False
        assert await w.process(rude) == [Outcome.DEAD_LETTER]


async def test_an_event_that_is_retried_takes_the_users_later_ones_with_it() -> None:
    """daprd brings back only what waits: order within the user would be lost. Others go on."""
    async with world(ALICE, BOB) as w:
        w.letters.down = True
        fates = await w.process(
            profile(ALICE, 1), profile(BOB, 1), profile(ALICE, 2, avatar_url="http://x"), profile(ALICE, 1, offset=3)
        )
        assert fates == [Outcome.STALE, Outcome.APPLIED, Outcome.RETRY, Outcome.RETRY]


async def test_an_unexpected_exception_makes_the_batch_retry() -> None:
    """Only events recognised as hopeless become dead letters."""
    async with world(ALICE) as w:
        w.homeserver.before = raising(ZeroDivisionError("a bug"))
        assert await w.process(deletion()) == [Outcome.RETRY]
        assert w.letters.letters == []
        w.homeserver.before = None
        assert await w.process(deletion()) == [Outcome.APPLIED]


async def test_an_unexpected_exception_for_one_user_delays_no_other_user() -> None:
    """Also where no call is needed."""

    def faulty(before: UserState, events: Sequence[Event], now: datetime, *, look: bool) -> Decision:
        if any(isinstance(event, ProfileUpdated) and event.display_name == "Trouble" for event in events):
            raise ZeroDivisionError("a bug")
        return decide(before, events, now, look=look)

    async with world(ALICE, BOB) as w:
        await w.process(profile(ALICE, 1), profile(BOB, 1))
        w.decide = faulty
        w.restart()
        trouble = profile(ALICE, 2, display_name="Trouble")
        assert await w.process(trouble, profile(BOB, 2, display_name="Bob")) == [Outcome.RETRY, Outcome.APPLIED]
        w.decide = decide
        w.restart()
        assert await w.process(trouble) == [Outcome.APPLIED]


async def test_health_probes_count_towards_the_requests_in_flight() -> None:
    """A failing Synapse is not probed by every user's call at once."""
    users = [str(uuid.UUID(int=number)) for number in range(3 * IN_FLIGHT)]
    async with world(*users) as w:
        w.homeserver.failing_for = {w.homeserver.mxid(user) for user in users}
        now = most = 0

        async def before(_method: str, _path: str) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            for _ in range(5):
                await checkpoint()
            now -= 1

        w.homeserver.before = before
        assert set(await w.process(*(deletion(user) for user in users))) == {Outcome.DEAD_LETTER}
        assert most == IN_FLIGHT


@pytest.mark.parametrize(
    "answer",
    [HTMLResponse("<h1>sign in</h1>"), JSONResponse([]), HTMLResponse("not here", 404), Response(status_code=302)],
)
async def test_a_response_of_a_proxy_is_never_taken_for_one_of_synapse(answer: Response) -> None:
    """A proxy's page with status 200 is no success, and its 404 does not mean that there is no account."""
    async with world(ALICE) as w:
        w.homeserver.stands_in = answer
        for record in (profile(), deletion()):
            assert await w.process(record) == [Outcome.RETRY]
            assert w.health.failure
            assert w.health.failure.reason is Reason.SYNAPSE_UNEXPECTED
            w.health.failure = None
        assert w.letters.letters == []


def failing_first(w: Harness, times: int) -> Callable[[str, str], Awaitable[None]]:
    left = times

    async def before(_method: str, _path: str) -> None:
        nonlocal left
        w.homeserver.down = left > 0
        left -= 1

    return before


def raising(error: Exception) -> Callable[[str, str], Awaitable[None]]:
    async def before(_method: str, _path: str) -> None:
        raise error

    return before
