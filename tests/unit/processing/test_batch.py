"""The one road, from records to the state of Synapse, with everything around it in memory."""

import asyncio
import dataclasses
import itertools
import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import HTMLResponse, JSONResponse, Response

from function.accounts.plan import Step, plan
from function.accounts.user_state import Status, UserState
from function.dapr.bulk_envelope import KafkaRecord
from function.events.types import Event, PasswordChanged, ProfileUpdated, UserCreated, UserDeleted
from function.homeserver.account import Account
from function.homeserver.requests import IN_FLIGHT
from function.outcomes import EventResult, Outcome, Reason
from function.processing.user import SAVE_ATTEMPTS
from tests.support.events import (
    ALICE,
    BOB,
    CAROL,
    EPOCH,
    deleted_payload,
    deletion,
    delivered,
    moment,
    profile,
    profile_payload,
)
from tests.support.harness import Harness, world
from tests.support.strategies import IMAGES, arrivals

pytestmark = pytest.mark.anyio

GET, PUT, POST = "GET", "PUT", "POST"


def methods(w: Harness) -> list[str]:
    return [method for method, _ in w.homeserver.calls()]


# --- every fate


async def test_a_changed_profile_is_applied() -> None:
    """Name and avatar, one look first."""
    async with world(ALICE) as w:
        assert await w.process(profile(avatar_url="mxc://test.example/one")) == [Outcome.APPLIED]
        assert w.account()["displayname"] == "Alice Example"
        assert w.account()["avatar_url"] == "mxc://test.example/one"
        assert methods(w) == [GET, PUT, PUT]


async def test_an_unchanged_profile_costs_no_request() -> None:
    """Most edits of a profile change nothing in Matrix."""
    async with world(ALICE) as w:
        await w.process(profile(second=1))
        before = len(w.homeserver.requests)
        assert await w.process(profile(second=2, bio="other words")) == [Outcome.UNCHANGED]
        assert len(w.homeserver.requests) == before
        assert w.state.record(ALICE).profile_at == EPOCH + timedelta(seconds=2)


async def test_only_the_field_that_changed_is_written() -> None:
    """A known account needs no look, and each field is a call of its own."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, avatar_url="mxc://test.example/one"))
        w.homeserver.requests.clear()
        assert await w.process(profile(second=2, avatar_url="mxc://test.example/two")) == [Outcome.APPLIED]
        [(method, path)] = w.homeserver.requests
        assert (method, path.rpartition("/")[2]) == (PUT, "avatar_url")


async def test_a_cleared_avatar_is_cleared_in_matrix() -> None:
    """The producer clears with an empty string."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, avatar_url="mxc://test.example/one"))
        assert await w.process(profile(second=2, avatar_url="")) == [Outcome.APPLIED]
        assert w.account()["avatar_url"] is None


@pytest.mark.parametrize("soft", [True, False])
async def test_a_deletion_deactivates_with_one_call(soft: bool) -> None:
    """And erases where it was a hard one."""
    async with world(ALICE) as w:
        assert await w.process(deletion(soft=soft)) == [Outcome.APPLIED]
        assert (w.account()["deactivated"], w.account()["erased"]) == (True, not soft)
        assert methods(w) == [POST]


async def test_a_redelivered_deletion_is_unchanged() -> None:
    """It is looked at again, since a writer may have died between its call and its record."""
    async with world(ALICE) as w:
        await w.process(deletion())
        assert await w.process(deletion()) == [Outcome.UNCHANGED]
        assert methods(w) == [POST, GET]


async def test_an_older_profile_is_stale_and_writes_nothing() -> None:
    """The outbox repeats old rows after newer ones."""
    async with world(ALICE) as w:
        await w.process(profile(second=5, display_name="New"))
        w.homeserver.requests.clear()
        assert await w.process(profile(second=1, display_name="Old")) == [Outcome.STALE]
        assert w.account()["displayname"] == "New"
        assert PUT not in methods(w)


async def test_a_profile_of_nobody_is_no_account_and_never_written() -> None:
    """Writing it would spoil the id for the first login."""
    async with world() as w:
        assert await w.process(profile(second=1)) == [Outcome.NO_ACCOUNT]
        assert await w.process(profile(second=2, display_name="Other")) == [Outcome.NO_ACCOUNT]
        assert methods(w) == [GET, GET]
        assert w.homeserver.poisoned == set()


async def test_a_profile_is_written_once_the_account_is_there() -> None:
    """What was said before the first login comes true with the next event."""
    async with world() as w:
        await w.process(profile(second=1))
        w.login(ALICE)
        assert await w.process(profile(second=2)) == [Outcome.APPLIED]
        assert w.account()["displayname"] == "Alice Example"


async def test_a_deletion_of_nobody_is_no_account() -> None:
    """Not an error: not everybody uses the chat."""
    async with world() as w:
        assert await w.process(deletion()) == [Outcome.NO_ACCOUNT]
        assert w.state.record(ALICE).status is Status.DEACTIVATED


@pytest.mark.parametrize("soft", [True, False])
async def test_a_deletion_before_the_account_exists_is_remembered(soft: bool) -> None:
    """A late profile must not bring back somebody who was deleted before the first login."""
    async with world() as w:
        await w.process(deletion(second=1, soft=soft))
        w.login(ALICE)
        assert await w.process(profile(second=2)) == [Outcome.STALE]
        assert w.account()["displayname"] == f"nova-{ALICE}" or w.account()["erased"]
        assert PUT not in methods(w)


@pytest.mark.parametrize("soft", [True, False])
async def test_a_late_profile_after_a_deletion_writes_nothing(soft: bool) -> None:
    """A newer one neither: deletion is terminal."""
    async with world(ALICE) as w:
        await w.process(profile(second=5))
        await w.process(deletion(second=6, soft=soft))
        state = dict(w.account())
        w.homeserver.requests.clear()
        for late in (profile(second=1, display_name="Old"), profile(second=9, display_name="New")):
            assert await w.process(late) == [Outcome.STALE]
        assert w.account() == state
        assert PUT not in methods(w)


async def test_an_account_that_another_service_deactivated_is_left_alone() -> None:
    """Nothing is written to an ended account, whoever ended it."""
    async with world(ALICE) as w:
        w.account().update(deactivated=True)
        assert await w.process(profile()) == [Outcome.NO_ACCOUNT]
        assert methods(w) == [GET]


async def test_an_older_deletion_still_deletes() -> None:
    """One that waited in the dead letters."""
    async with world(ALICE) as w:
        await w.process(profile(second=9))
        assert await w.process(deletion(second=1)) == [Outcome.APPLIED]
        assert w.account()["deactivated"] is True


async def test_a_hard_deletion_upgrades_a_soft_one_but_not_the_reverse() -> None:
    """An erasure can't be taken back."""
    async with world(ALICE) as w:
        await w.process(deletion(second=1, soft=True))
        assert await w.process(deletion(second=2, soft=False)) == [Outcome.APPLIED]
        assert await w.process(deletion(second=3, soft=True)) == [Outcome.UNCHANGED]
        assert (w.account()["erased"], w.account()["displayname"]) == (True, None)


async def test_what_is_not_ours_is_ignored_without_a_look_at_anything() -> None:
    """Other groups' types and tombstones."""
    async with world(ALICE) as w:
        other = delivered({"user_id": ALICE}, "identity.user.two_fa_enabled")
        assert await w.process(other, delivered(b"null")) == [Outcome.IGNORED, Outcome.IGNORED]
        assert (w.state.reads, w.homeserver.requests, w.letters.letters) == (0, [], [])


async def test_a_record_that_is_no_event_is_a_dead_letter() -> None:
    """With the reason, and the record as it came; it holds nobody up."""
    async with world(ALICE) as w:
        broken = delivered(b"{not json", "identity.user.deleted", offset=7)
        assert await w.process(broken, deletion()) == [Outcome.DEAD_LETTER, Outcome.APPLIED]
        [letter] = w.letters.letters
        assert (letter.record, letter.reason, letter.event_id) == (broken, Reason.NOT_JSON, "event-7")


async def test_an_avatar_that_cannot_be_shown_is_a_dead_letter_and_the_name_is_applied() -> None:
    """A bad avatar never holds back the name, not even when the event is replayed."""
    async with world(ALICE) as w:
        event = profile(avatar_url="https://cdn.example/a.png")
        assert await w.process(event) == [Outcome.DEAD_LETTER]
        assert w.account()["displayname"] == "Alice Example"
        assert await w.process(event) == [Outcome.DEAD_LETTER]
        assert w.letters.reasons == [Reason.AVATAR_HOST_NOT_ALLOWED] * 2


async def test_a_name_that_synapse_refuses_is_a_dead_letter() -> None:
    """A module of the homeserver may refuse what Synapse itself takes."""
    async with world(ALICE) as w:
        w.homeserver.refused_names.add("Rude")
        assert await w.process(profile(display_name="Rude")) == [Outcome.DEAD_LETTER]
        assert w.letters.reasons == [Reason.SYNAPSE_REFUSED]


@pytest.mark.parametrize("soft", [True, False])
async def test_a_user_with_a_refused_name_can_be_deleted(soft: bool) -> None:
    """In the same batch and in a later one."""
    async with world(ALICE, BOB) as w:
        w.homeserver.refused_names.add("Rude")
        await w.process(profile(ALICE, 1, display_name="Rude"))
        assert await w.process(deletion(ALICE, 2, soft=soft)) == [Outcome.APPLIED]
        await w.process(profile(BOB, 1, display_name="Rude"), deletion(BOB, 2, soft=soft))
        for user in (ALICE, BOB):
            assert w.account(user)["deactivated"] is True


async def test_a_user_with_a_name_that_breaks_synapse_can_be_deleted() -> None:
    """The name is refused before it is sent; the deletion goes on."""
    async with world(ALICE) as w:
        fates = await w.process(profile(second=1, display_name="a\0b"), deletion(second=2))
        assert fates == [Outcome.DEAD_LETTER, Outcome.APPLIED]
        assert w.letters.reasons == [Reason.INVALID_DISPLAY_NAME]


# --- batches


async def test_ten_profiles_of_one_user_cost_one_write() -> None:
    """Folded together; the older ones are stale by the time of the write."""
    async with world(ALICE) as w:
        batch = [profile(second=i, display_name=f"Name {i}", offset=i) for i in range(10)]
        assert await w.process(*batch) == [Outcome.STALE] * 9 + [Outcome.APPLIED]
        assert w.account()["displayname"] == "Name 9"
        assert methods(w) == [GET, PUT]
        again = [profile(second=i, display_name=f"Name {i}", offset=i) for i in range(10, 20)]
        await w.process(*again)
        assert methods(w) == [GET, PUT, PUT]


async def test_a_batch_is_one_read_and_one_write_of_the_state_store() -> None:
    """However many users it holds."""
    async with world(ALICE, BOB, CAROL) as w:
        await w.process(profile(ALICE), profile(BOB), deletion(CAROL), profile(BOB, 2))
        assert (w.state.reads, w.state.writes) == (1, 1)


async def test_the_newest_of_a_batch_wins_wherever_it_stands() -> None:
    """Order within a user is not guaranteed."""
    async with world(ALICE) as w:
        fates = await w.process(profile(second=9, display_name="New"), profile(second=1, display_name="Old"))
        assert fates == [Outcome.APPLIED, Outcome.STALE]
        assert w.account()["displayname"] == "New"


async def test_a_profile_and_a_deletion_in_one_batch_are_one_call() -> None:
    """What is about to end is not written to first."""
    async with world(ALICE) as w:
        assert await w.process(profile(second=1), deletion(second=2)) == [Outcome.STALE, Outcome.APPLIED]
        assert methods(w) == [POST]


async def test_an_empty_batch_is_no_trouble() -> None:
    """daprd does not send one; a test of the route does."""
    async with world() as w:
        assert await w.process() == []


# --- a broken world


async def test_synapse_down_makes_everything_wait_and_nothing_a_dead_letter() -> None:
    """The backlog stays in Kafka; not even a try is made until a probe is well."""
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


async def test_a_refused_token_makes_everything_wait() -> None:
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
    """Synapse works for everybody else, so waiting would hold up the partition for nothing."""
    async with world(ALICE, BOB, CAROL) as w:
        w.homeserver.failing_for.add(w.homeserver.mxid(BOB))
        fates = await w.process(event(ALICE), event(BOB), event(CAROL))
        assert fates == [Outcome.APPLIED, Outcome.DEAD_LETTER, Outcome.APPLIED]
        assert w.letters.reasons == [Reason.SYNAPSE_ERROR]
        assert w.health.failure is None


async def test_a_redelivery_that_fails_for_one_user_only_is_a_dead_letter_too() -> None:
    """The look that a redelivery needs may be what fails."""
    async with world(ALICE, BOB) as w:
        await w.process(deletion(ALICE), deletion(BOB))
        w.homeserver.failing_for.add(w.homeserver.mxid(BOB))
        assert await w.process(deletion(ALICE), deletion(BOB)) == [Outcome.UNCHANGED, Outcome.DEAD_LETTER]
        assert w.letters.reasons == [Reason.SYNAPSE_ERROR]


async def test_a_deletion_that_could_not_be_done_is_remembered_all_the_same() -> None:
    """Its dead letter waits for a person; a later profile must not be written to a deleted user meanwhile. A look
    comes first here, since the profile in the batch is a redelivery, and the look is what fails."""
    async with world(ALICE) as w:
        await w.process(profile(second=1))
        w.homeserver.failing_for.add(w.homeserver.mxid(ALICE))
        await w.process(profile(second=1), deletion(second=2, soft=False))
        w.homeserver.failing_for.clear()
        assert await w.process(profile(second=3, display_name="Back")) == [Outcome.STALE]
        assert w.account()["displayname"] != "Back"


async def test_a_short_fault_of_synapse_is_not_noticed() -> None:
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
async def test_a_rate_limiter_that_asks_for_too_long_makes_the_user_wait(pause: int) -> None:
    """Only this user: the limit is per user, and Synapse is well."""
    async with world(ALICE, BOB) as w:
        w.homeserver.limited, w.homeserver.retry_after_ms = 1, pause
        w.homeserver.add(w.homeserver.mxid(BOB))
        assert await w.process(profile(ALICE), deletion(BOB)) == [Outcome.RETRY, Outcome.APPLIED]
        assert w.health.failure is None
        # The limiter answers after the write: the look that a repeated event costs finds it done.
        assert await w.process(profile(ALICE)) == [Outcome.UNCHANGED]


async def test_a_state_store_that_is_down_makes_everything_wait() -> None:
    """Without the record nobody knows what is stale."""
    async with world(ALICE) as w:
        w.state.down = True
        assert await w.process(deletion(), delivered(b"broken")) == [Outcome.RETRY, Outcome.RETRY]
        assert w.homeserver.requests == []
        assert w.letters.letters == []
        assert w.health.failure is not None
        assert w.health.failure.reason is Reason.STATE_UNAVAILABLE


async def test_a_dead_letter_that_cannot_be_published_waits() -> None:
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


async def test_an_event_that_waits_takes_the_users_later_ones_with_it() -> None:
    """daprd brings back only what waits: order within the user would be lost. Others go on."""
    async with world(ALICE, BOB) as w:
        w.letters.down = True
        fates = await w.process(
            profile(ALICE, 1), profile(BOB, 1), profile(ALICE, 2, avatar_url="http://x"), profile(ALICE, 1, offset=3)
        )
        assert fates == [Outcome.STALE, Outcome.APPLIED, Outcome.RETRY, Outcome.RETRY]


async def test_a_bug_of_ours_makes_the_batch_wait() -> None:
    """Only what is recognised as hopeless becomes a dead letter."""
    async with world(ALICE) as w:
        w.homeserver.before = raising(ZeroDivisionError("a bug"))
        assert await w.process(deletion()) == [Outcome.RETRY]
        assert w.letters.letters == []
        w.homeserver.before = None
        assert await w.process(deletion()) == [Outcome.APPLIED]


async def test_a_bug_beyond_one_user_stops_the_others_and_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody may go on writing once the batch has given its users back, and the log names the bug itself."""
    released = asyncio.Event()

    def faulty(events: list[Event], _outcome: object) -> list[EventResult]:
        raise ZeroDivisionError(f"a bug with {len(events)}")

    async def held(_method: str, path: str) -> None:
        if BOB in path:
            await released.wait()

    async with world(ALICE, BOB) as w:
        w.homeserver.before = held
        monkeypatch.setattr("function.processing.user.event_results", faulty)
        assert await w.process(deletion(ALICE), deletion(BOB)) == [Outcome.RETRY, Outcome.RETRY]
        released.set()
        for _ in range(50):
            await checkpoint()
        assert not w.homeserver.accounts[w.homeserver.mxid(BOB)]["deactivated"]
        assert [type(r.exc_info[1]) for r in caplog.records if r.msg == "batch_failed" and r.exc_info] == [
            ZeroDivisionError
        ]
        monkeypatch.undo()
        w.homeserver.before = None
        assert await w.process(deletion(ALICE), deletion(BOB)) == [
            Outcome.APPLIED,
            Outcome.APPLIED,
        ]  # nothing was remembered of Alice


async def test_a_bug_with_one_users_record_makes_nobody_else_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there would be nothing to do, and no task of its own to fail in."""

    def faulty(record: UserState, account: Account) -> list[Step]:
        if record.display_name == "Trouble":
            raise ZeroDivisionError("a bug")
        return plan(record, account)

    async with world(ALICE, BOB) as w:
        await w.process(profile(ALICE, 1), profile(BOB, 1))
        monkeypatch.setattr("function.accounts.reconcile.plan", faulty)
        trouble = profile(ALICE, 2, display_name="Trouble")
        assert await w.process(trouble, profile(BOB, 2, display_name="Bob")) == [Outcome.RETRY, Outcome.APPLIED]
        monkeypatch.undo()
        assert await w.process(trouble) == [Outcome.APPLIED]


async def test_no_more_requests_are_in_flight_when_every_call_fails_and_asks_whether_synapse_is_well() -> None:
    """A Synapse that is unwell is not asked by every user's call at once."""
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


# --- crashes and other writers


async def test_a_crash_between_call_and_record_heals_at_the_redelivery() -> None:
    """The account is as it should be already; the record catches up."""
    async with world(ALICE) as w:
        w.state.losing = 1
        assert await w.process(profile(second=5)) == [Outcome.RETRY]
        assert w.account()["displayname"] == "Alice Example"
        w.health.failure = None
        assert await w.process(profile(second=5)) == [Outcome.UNCHANGED]
        assert w.state.record(ALICE).known == Account(display_name="Alice Example")


async def test_a_newer_record_of_another_writer_wins() -> None:
    """Our write may have gone over the newer name: it is looked at and put right."""
    async with world(ALICE) as w:
        at = EPOCH + timedelta(seconds=9)
        newer = UserState(Status.ACTIVE, at, "Newer", "", Account(display_name="Newer"), at)
        w.state.rivals = [{ALICE: newer}]
        assert await w.process(profile(second=1, display_name="Older")) == [Outcome.STALE]
        assert w.account()["displayname"] == "Newer"
        kept = w.state.record(ALICE)
        assert (kept.profile_at, kept.display_name, kept.known) == (newer.profile_at, "Newer", newer.known)


async def test_a_deletion_of_another_writer_wins() -> None:
    """Our name may have reached an account that was erased meanwhile: it is erased again."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="First"))

        async def erase(method: str, path: str) -> None:
            if method == PUT:
                w.account().update(deactivated=True, erased=True, displayname=None, avatar_url=None)

        w.homeserver.before = erase
        w.state.rivals = [{ALICE: UserState(Status.ERASED, known=Account(deactivated=True, erased=True))}]
        assert await w.process(profile(second=2, display_name="Second")) == [Outcome.STALE]
        assert (w.account()["erased"], w.account()["displayname"]) == (True, None)
        assert b"Second" not in w.state.stored_bytes(ALICE)


async def test_an_older_record_of_another_writer_loses() -> None:
    """Whoever comes second sees both."""
    async with world(ALICE) as w:
        w.state.rivals = [{ALICE: UserState(Status.ACTIVE, EPOCH, "Older", "", Account(display_name="Older"))}]
        assert await w.process(profile(second=9, display_name="Newer")) == [Outcome.UNCHANGED]
        assert w.account()["displayname"] == "Newer"
        assert w.state.record(ALICE).display_name == "Newer"


async def test_a_conflict_on_one_user_leaves_the_others_of_the_batch_done() -> None:
    """One stale etag fails the whole transaction: then each user is saved alone."""
    async with world(ALICE, BOB, CAROL) as w:
        w.state.rivals = [{BOB: UserState(Status.DEACTIVATED)}]
        fates = await w.process(profile(ALICE), profile(BOB), deletion(CAROL))
        assert fates == [Outcome.APPLIED, Outcome.STALE, Outcome.APPLIED]
        assert w.account(BOB)["deactivated"] is True
        assert w.state.record(ALICE).display_name == "Alice Example"
        assert w.state.record(CAROL).status is Status.DEACTIVATED


async def test_conflicts_without_end_make_the_user_wait() -> None:
    """Bounded, and nobody else is held up or called sick."""
    async with world(ALICE, BOB) as w:
        rival = {ALICE: UserState(Status.ACTIVE, EPOCH, "Rival", "")}
        # The batch's own write, then Alice's and Bob's alone; Alice's are disturbed each time.
        w.state.rivals = [rival] * (1 + SAVE_ATTEMPTS)
        assert await w.process(profile(ALICE, 9), deletion(BOB)) == [Outcome.RETRY, Outcome.APPLIED]
        assert w.health.failure is None
        assert await w.process(profile(ALICE, 9)) == [Outcome.UNCHANGED]


async def test_an_erased_record_holds_nothing_personal() -> None:
    """Neither what was wished nor what was known."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, avatar_url="mxc://test.example/face"))
        await w.process(deletion(second=2, soft=False))
        kept = w.state.stored_bytes(ALICE)
        assert b"Alice" not in kept
        assert b"face" not in kept


# --- any order at all


def record_of(event: Event, place: int) -> KafkaRecord:
    """The event as the producer would write it."""
    seconds = (event.at - EPOCH).total_seconds()
    if isinstance(event, UserDeleted):
        payload = deleted_payload(ALICE, seconds, soft=not event.erase)
        return delivered(payload, "identity.user.deleted", offset=place)
    if isinstance(event, UserCreated):
        payload = {"user_id": ALICE, "username": event.username, "created_at": moment(seconds)}
        return delivered(payload, "identity.user.created", offset=place)
    if isinstance(event, PasswordChanged):
        payload = {"user_id": ALICE, "changed_at": moment(seconds), "invalidate_all_sessions": True}
        return delivered(payload, "identity.user.password_changed", offset=place)
    avatar = event.avatar if isinstance(event.avatar, str) else "ftp://cdn.example/a.png"
    payload = profile_payload(ALICE, seconds, display_name=event.display_name, avatar_url=avatar)
    return delivered(payload, "identity.user.profile_updated", offset=place)


def oracle(happened: list[Event], first_name: str | None) -> dict[str, object]:
    """The account as it should end: the newest profile, unless a deletion came, whenever."""
    deletions = [event.erase for event in happened if isinstance(event, UserDeleted)]
    profiles = [event for event in happened if isinstance(event, ProfileUpdated)]
    if any(deletions):
        return {"deactivated": True, "erased": True, "displayname": None, "avatar_url": None}
    if deletions:
        return {"deactivated": True, "erased": False}
    shown = [event.avatar for event in profiles if isinstance(event.avatar, str)]
    return {
        "deactivated": False,
        "erased": False,
        "displayname": (profiles[-1].display_name or "ally") if profiles else first_name,
        "avatar_url": (shown[-1] or None) if shown else None,
    }


def end_state(w: Harness, expected: dict[str, object]) -> dict[str, object]:
    """The account, a copied avatar as the address that it was copied from."""
    account = dict(w.account())
    content = w.homeserver.media.get(str(account["avatar_url"]))
    account["avatar_url"] = next((a for a, image in IMAGES.items() if image == content), account["avatar_url"])
    return {name: account[name] for name in expected}


# How many records are delivered, whether the save is lost, and whether the process dies with it.
LOSSES = st.sampled_from([(0, False), (0, False), (1, False), (1, True)])
BATCHES = st.lists(st.tuples(st.integers(1, 8), LOSSES), max_size=12)


@settings(max_examples=300)
@given(arrivals(), BATCHES)
async def test_any_order_repetition_batching_and_crash_end_in_the_same_account(
    case: tuple[list[Event], list[Event]], batches: list[tuple[int, tuple[int, bool]]]
) -> None:
    """Newest wins, deletion is terminal, and a write that was lost before its record comes right at the redelivery."""
    happened, arriving = case
    async with world(ALICE) as w:
        first_name = w.account()["displayname"]
        assert isinstance(first_name, str)
        w.avatars.images = dict(IMAGES)
        records = [record_of(event, place) for place, event in enumerate(arriving)]
        for size, (lost_writes, dies) in [*batches, (len(records), (0, False))]:
            w.state.losing = lost_writes
            fates = await w.process(*records[:size])
            w.health.failure = None
            if dies:
                w.restart()
            records = [
                r for r, outcome in zip(records[:size], fates, strict=True) if outcome is Outcome.RETRY
            ] + records[size:]
        assert records == []
        expected = oracle(happened, first_name)
        assert end_state(w, expected) == expected
        assert Outcome.RETRY not in await w.process(*(record_of(event, 0) for event in happened))
        assert end_state(w, expected) == expected
        if not any(dies for _, (_, dies) in batches):  # an upload that only the dead process knew of stays
            assert set(w.homeserver.media) <= {w.account()["avatar_url"]}
        shown = w.account()["avatar_url"]
        assert not str(shown).startswith("mxc://test.example/media") or shown in w.homeserver.media


@given(arrivals(), st.integers(0, 6))
async def test_a_login_in_between_never_finds_a_spoilt_id_and_deletions_hold(
    case: tuple[list[Event], list[Event]], moment: int
) -> None:
    """The account comes into being at any moment among the events."""
    _, arriving = case
    async with world() as w:
        for place, event in enumerate(arriving):
            if place == moment:
                w.login(ALICE)
            await w.process(record_of(event, place))
        assert w.homeserver.poisoned == set()
        if moment < len(arriving) and any(isinstance(event, UserDeleted) for event in arriving[moment:]):
            assert w.account()["deactivated"] is True


async def test_a_value_that_came_and_went_within_a_batch_is_not_left_in_synapse() -> None:
    """The function died after it wrote the middle one: the redelivered batch ends where the record already is."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="A"))
        w.account()["displayname"] = "B"  # the lost delivery's call
        batch = [profile(second=2, display_name="B"), profile(second=3, display_name="A")]
        assert await w.process(*batch) == [Outcome.STALE, Outcome.APPLIED]
        assert w.account()["displayname"] == "A"


@pytest.mark.parametrize(
    "answer",
    [HTMLResponse("<h1>sign in</h1>"), JSONResponse([]), HTMLResponse("not here", 404), Response(status_code=302)],
)
async def test_an_answer_that_is_not_synapses_is_never_taken_for_one(answer: Response) -> None:
    """A proxy's page with status 200 is no success, and its 404 does not mean that there is no account."""
    async with world(ALICE) as w:
        w.homeserver.stands_in = answer
        for record in (profile(), deletion()):
            assert await w.process(record) == [Outcome.RETRY]
            assert w.health.failure
            assert w.health.failure.reason is Reason.SYNAPSE_UNEXPECTED
            w.health.failure = None
        assert w.letters.letters == []


# --- several batches at a time


async def test_batches_of_different_users_do_not_wait_for_each_other() -> None:
    """Each of the sidecar's components has a batch of its own in flight."""
    async with world(ALICE, BOB) as w:
        stuck = asyncio.Event()
        w.homeserver.before = waiting_at(ALICE, stuck)
        slow = asyncio.create_task(w.process(profile()))
        assert await w.process(profile(BOB)) == [Outcome.APPLIED]
        assert not slow.done()
        stuck.set()
        assert await slow == [Outcome.APPLIED]


async def test_batches_of_one_user_take_turns_also_when_they_meet() -> None:
    """After a rebalance, say: the newer batch sees what the older one left, and nobody writes over anybody."""
    async with world(ALICE) as w:
        stuck = asyncio.Event()
        w.homeserver.before = waiting_at(ALICE, stuck)
        first = asyncio.create_task(w.process(profile(second=5, display_name="New")))
        second = asyncio.create_task(w.process(profile(second=1, display_name="Old"), deletion(BOB)))
        stuck.set()
        assert await first == [Outcome.APPLIED]
        assert await second == [Outcome.STALE, Outcome.NO_ACCOUNT]
        assert w.account()["displayname"] == "New"
        assert w.state.conflicts == 0


@given(arrivals(), st.lists(st.integers(1, 4), min_size=1))
async def test_batches_that_come_at_once_end_in_the_same_account(
    case: tuple[list[Event], list[Event]], sizes: list[int]
) -> None:
    """One user's events, in batches of these sizes, all in flight together with somebody else's."""
    happened, arriving = case
    async with world(ALICE, BOB) as w:
        first_name = w.account()["displayname"]
        assert isinstance(first_name, str)
        w.avatars.images = dict(IMAGES)
        records = [record_of(event, place) for place, event in enumerate(arriving)]
        batches: list[list[KafkaRecord]] = []
        for size in itertools.cycle(sizes):
            if not records:
                break
            batches, records = [*batches, [*records[:size], profile(BOB, second=len(batches))]], records[size:]
        fates = await asyncio.gather(*(w.process(*batch) for batch in batches))
        assert Outcome.RETRY not in itertools.chain(*fates)
        assert w.state.conflicts == 0
        expected = oracle(happened, first_name)
        assert end_state(w, expected) == expected


# --- hooks of the fake homeserver


def failing_first(w: Harness, times: int) -> Callable[[str, str], Awaitable[None]]:
    left = times

    async def before(_method: str, _path: str) -> None:
        nonlocal left
        w.homeserver.down = left > 0
        left -= 1

    return before


def waiting_at(user_id: str, until: asyncio.Event) -> Callable[[str, str], Awaitable[None]]:
    async def before(_method: str, path: str) -> None:
        if user_id in path:
            await until.wait()

    return before


def raising(error: Exception) -> Callable[[str, str], Awaitable[None]]:
    async def before(_method: str, _path: str) -> None:
        raise error

    return before


def test_the_records_of_these_tests_are_as_the_producer_writes_them() -> None:
    """The helper must not drift from the shapes that decoding is tested with."""
    record = record_of(UserDeleted("e", ALICE, EPOCH, erase=True), 3)
    assert json.loads(record.value)["soft_delete"] is False
    assert dataclasses.asdict(record)["metadata"]["event_type"] == "identity.user.deleted"
