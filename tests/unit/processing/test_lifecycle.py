"""Avatars, accounts made ahead of the first login, ended sessions, the brake, the rooms after a deletion."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.accounts.room_cleanup import CHECK_AFTER, KEY
from function.accounts.user_state import Status
from function.dapr.bulk_envelope import KafkaRecord
from function.outcomes import Outcome, Reason
from function.processing.deletion_limit import HOUR, DeletionLimit
from tests.support.events import ALICE, BOB, CAROL, deletion, delivered, moment, profile
from tests.support.harness import Harness, world

pytestmark = pytest.mark.anyio

FACE = "https://cdn.example/face.png"


def created(user_id: str = ALICE, second: float = 0, username: str = "ally") -> KafkaRecord:
    payload = {"user_id": user_id, "username": username, "created_at": moment(second), "email": "a@example.org"}
    return delivered(payload, "identity.user.created")


def password(user_id: str = ALICE, second: float = 0, *, ends: bool = True) -> KafkaRecord:
    payload = {"user_id": user_id, "changed_at": moment(second), "invalidate_all_sessions": ends}
    return delivered(payload, "identity.user.password_changed")


def calls(w: Harness) -> list[str]:
    """The calls since the last look, as method and last word of the path."""
    made = [f"{method} {path.rpartition('/')[2].partition('@')[0]}".strip() for method, path in w.homeserver.requests]
    w.homeserver.requests.clear()
    return made


# --- avatars


async def test_an_https_avatar_is_copied_and_shown() -> None:
    """Clients show nothing but mxc."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        assert await w.process(profile(avatar_url=FACE)) == [Outcome.APPLIED]
        assert w.homeserver.media[str(w.account()["avatar_url"])] == b"face"


async def test_the_same_image_costs_synapse_nothing() -> None:
    """Most profile events change something else."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        calls(w)
        assert await w.process(profile(second=2, avatar_url=FACE)) == [Outcome.UNCHANGED]
        assert calls(w) == []
        assert len(w.avatars.asked) == 2


async def test_a_changed_image_behind_the_same_address_is_noticed_and_the_old_one_deleted() -> None:
    """At the next profile event, whatever that was about."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        w.avatars.images[FACE] = b"other face"
        assert await w.process(profile(second=2, avatar_url=FACE)) == [Outcome.APPLIED]
        assert list(w.homeserver.media.values()) == [b"other face"]
        assert w.account()["avatar_url"] in w.homeserver.media


async def test_the_same_bytes_from_elsewhere_are_not_uploaded_twice() -> None:
    """A CDN that moved."""
    async with world(ALICE) as w:
        w.avatars.images = {FACE: b"face", "https://new.example/face.png": b"face"}
        await w.process(profile(second=1, avatar_url=FACE))
        before = dict(w.homeserver.media)
        assert await w.process(profile(second=2, avatar_url="https://new.example/face.png")) == [Outcome.UNCHANGED]
        assert w.homeserver.media == before


async def test_a_removed_avatar_is_removed_there_and_its_copy_deleted() -> None:
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        assert await w.process(profile(second=2, avatar_url="")) == [Outcome.APPLIED]
        assert (w.account()["avatar_url"], w.homeserver.media) == (None, {})


async def test_an_image_that_comes_back_after_its_removal_is_uploaded_again() -> None:
    """Its first copy was deleted."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        for second, address in enumerate([FACE, "", FACE]):
            await w.process(profile(second=second, avatar_url=address))
        assert w.homeserver.media[str(w.account()["avatar_url"])] == b"face"


@pytest.mark.parametrize("reason", [Reason.AVATAR_UNAVAILABLE, Reason.AVATAR_NOT_AN_IMAGE, Reason.AVATAR_TOO_LARGE])
async def test_a_failing_avatar_holds_back_neither_the_name_nor_anybody(reason: Reason) -> None:
    """A CDN that is down for all must not stop deletions."""
    async with world(ALICE, BOB) as w:
        w.avatars.broken[FACE] = reason
        fates = await w.process(profile(display_name="Ada", avatar_url=FACE), deletion(BOB))
        assert fates == [Outcome.DEAD_LETTER, Outcome.APPLIED]
        assert w.account()["displayname"] == "Ada"
        assert w.letters.reasons == [reason]


async def test_a_replayed_avatar_is_copied_once_its_host_works() -> None:
    """The event is as old as the record then, and not stale."""
    async with world(ALICE) as w:
        w.avatars.broken[FACE] = Reason.AVATAR_UNAVAILABLE
        event = profile(second=1, avatar_url=FACE)
        assert await w.process(event) == [Outcome.DEAD_LETTER]
        w.avatars.broken.clear()
        w.avatars.images[FACE] = b"face"
        assert await w.process(event) == [Outcome.APPLIED]
        assert w.account()["avatar_url"] in w.homeserver.media


async def test_an_image_is_not_fetched_for_somebody_without_an_account() -> None:
    """Nor uploaded: nobody would delete it."""
    async with world() as w:
        w.avatars.images[FACE] = b"face"
        assert await w.process(profile(avatar_url=FACE)) == [Outcome.NO_ACCOUNT]
        assert (w.avatars.asked, w.homeserver.media) == ([], {})


async def test_an_upload_that_could_not_be_shown_is_not_made_again() -> None:
    """The same bytes give a new address each time."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        w.state.losing = 2
        event = profile(avatar_url=FACE)
        assert await w.process(event) == [Outcome.RETRY]
        for _ in range(2):
            w.health.failure = None
            await w.process(event)
        assert len(w.homeserver.media) == 1


OTHER = "https://cdn.example/other.png"


async def lose(w: Harness, event: KafkaRecord) -> None:
    """Synapse takes the calls; the record is not saved."""
    w.state.losing = 1
    assert await w.process(event) == [Outcome.RETRY]
    w.health.failure = None


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_image_whose_removal_was_not_saved_is_not_shown_again_from_a_copy_that_is_gone(
    restarted: bool,
) -> None:
    """The copy was deleted, and the record says that it is there."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        removal = profile(second=2, avatar_url="")
        await lose(w, removal)
        if restarted:
            w.restart()
        await w.process(removal, profile(second=3, avatar_url=FACE))
        assert w.homeserver.media[str(w.account()["avatar_url"])] == b"face"


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_image_that_came_and_went_around_a_lost_save_is_not_left_in_synapse(restarted: bool) -> None:
    """The record still says that the first one is shown."""
    async with world(ALICE) as w:
        w.avatars.images = {FACE: b"face", OTHER: b"other"}
        await w.process(profile(second=1, avatar_url=FACE))
        middle = profile(second=2, avatar_url=OTHER)
        await lose(w, middle)
        if restarted:
            w.restart()
        await w.process(middle, profile(second=3, avatar_url=FACE))
        assert w.homeserver.media[str(w.account()["avatar_url"])] == b"face"


@given(
    st.lists(st.sampled_from([FACE, OTHER, ""]), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0, 1]), st.booleans()), max_size=8),
)
async def test_however_images_follow_each_other_and_saves_are_lost_the_last_one_is_shown(
    addresses: list[str], batches: list[tuple[int, int, bool]]
) -> None:
    """Batches of any size, a save lost after some, the process dead after some."""
    async with world(ALICE) as w:
        w.avatars.images = {FACE: b"face", OTHER: b"other"}
        left = [profile(second=second, avatar_url=address) for second, address in enumerate(addresses)]
        for size, lost, dies in [*batches, (len(left), 0, False)]:
            w.state.losing = lost
            fates = await w.process(*left[:size])
            w.health.failure = None
            left = [e for e, outcome in zip(left[:size], fates, strict=True) if outcome is Outcome.RETRY] + left[size:]
            if dies:
                w.restart()
        assert w.homeserver.media.get(str(w.account()["avatar_url"])) == w.avatars.images.get(addresses[-1])


async def test_a_copy_that_another_replica_deleted_is_not_shown_again() -> None:
    """What this process uploaded long ago may be gone."""
    async with world(ALICE) as w:
        w.avatars.images = {FACE: b"face", OTHER: b"other"}
        await w.process(profile(second=1, avatar_url=FACE))
        first = w.processor
        w.restart()
        await w.process(profile(second=2, avatar_url=OTHER))
        w.processor = first
        await w.process(profile(second=3, avatar_url=FACE))
        assert w.homeserver.media[str(w.account()["avatar_url"])] == b"face"


async def test_two_events_about_the_same_image_cost_synapse_nothing() -> None:
    """The care for lost saves must not make a look of each such batch."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        calls(w)
        await w.process(profile(second=2, avatar_url=FACE), profile(second=3, avatar_url=FACE))
        assert calls(w) == []


# --- erasure


async def test_an_erased_person_leaves_no_image_behind() -> None:
    """Synapse keeps what the admin uploaded."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        assert await w.process(deletion(second=2, soft=False)) == [Outcome.APPLIED]
        assert w.homeserver.media == {}
        record = w.state.record(ALICE)
        assert (record.status, record.uploads, record.copy, record.avatar) == (Status.ERASED, (), None, None)


async def test_a_soft_deletion_keeps_the_image_and_the_hard_one_after_it_deletes_it() -> None:
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        await w.process(deletion(second=2, soft=True))
        assert len(w.homeserver.media) == 1
        assert await w.process(deletion(second=3, soft=False)) == [Outcome.APPLIED]
        assert (w.homeserver.media, w.account()["erased"]) == ({}, True)


async def test_an_account_that_somebody_else_erased_is_not_written_to() -> None:
    """It was last seen a while ago: Synapse is asked first."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        w.account().update(deactivated=True, erased=True, displayname=None)
        w.clock.now += timedelta(minutes=10)
        assert await w.process(profile(second=2, display_name="Ada L.")) == [Outcome.NO_ACCOUNT]
        assert w.account()["displayname"] is None


async def test_a_changed_image_of_an_account_that_somebody_else_erased_is_not_uploaded() -> None:
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        w.account().update(deactivated=True, erased=True, displayname=None, avatar_url=None)
        w.avatars.images[FACE] = b"other"
        w.clock.now += timedelta(minutes=10)
        await w.process(profile(second=2, avatar_url=FACE))
        assert w.account()["avatar_url"] is None
        assert b"other" not in w.homeserver.media.values()


async def test_an_account_that_somebody_else_reactivated_is_ended_again_at_the_next_event() -> None:
    """A deletion is final for the identity service."""
    async with world(ALICE) as w:
        await w.process(deletion(soft=False))
        w.account().update(deactivated=False, erased=False, displayname="back")
        assert await w.process(profile(second=9)) == [Outcome.STALE]
        assert (w.account()["deactivated"], w.account()["erased"], w.account()["displayname"]) == (True, True, None)


# --- the rooms after a deletion


async def test_rooms_that_are_joined_after_a_deletion_are_left_by_a_second_one() -> None:
    """Joins that a profile write had queued run late."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        await w.process(deletion(second=2))
        w.homeserver.rooms[w.homeserver.mxid(ALICE)] = 3
        w.clock.now += CHECK_AFTER[0]
        await w.room_cleanup.check_due()
        assert w.homeserver.rooms == {}
        for pause in (*CHECK_AFTER, *CHECK_AFTER):
            w.clock.now += pause
            await w.room_cleanup.check_due()
        assert w.state.stored_bytes(KEY) == b"{}"


async def test_a_person_whose_profile_was_not_written_lately_is_not_looked_after() -> None:
    """Nothing can be queued; it would cost each deletion a call."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        w.clock.now += timedelta(hours=1)
        await w.process(deletion(second=2))
        calls(w)
        w.clock.now += CHECK_AFTER[-1]
        await w.room_cleanup.check_due()
        assert calls(w) == []


async def test_who_is_leaving_is_known_before_the_deletion_is_answered() -> None:
    """A crash then forgets nobody."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        await w.process(deletion(second=2, soft=False))
        assert ALICE.encode() in w.state.stored_bytes(KEY)
        assert b"true" in w.state.stored_bytes(KEY)


# --- created


async def test_an_account_is_made_ahead_of_the_first_login() -> None:
    """Tied to the person's identity, so that the login lands on it."""
    async with world() as w:
        assert await w.process(created(username="ally")) == [Outcome.APPLIED]
        assert w.account()["displayname"] == "ally"
        assert w.homeserver.identities == {("oidc-nova", ALICE): w.homeserver.mxid(ALICE)}


async def test_a_profile_that_came_earlier_is_applied_at_creation() -> None:
    async with world() as w:
        w.avatars.images[FACE] = b"face"
        assert await w.process(profile(second=5, display_name="Ada", avatar_url=FACE)) == [Outcome.NO_ACCOUNT]
        assert await w.process(created(second=1)) == [Outcome.APPLIED]
        assert w.account()["displayname"] == "Ada"
        assert w.account()["avatar_url"] in w.homeserver.media


async def test_an_account_that_is_there_is_left_as_it_is() -> None:
    async with world(ALICE) as w:
        before = dict(w.account())
        assert await w.process(created()) == [Outcome.UNCHANGED]
        assert w.account() == before
        assert w.homeserver.calls("PUT") == []


async def test_a_created_event_after_a_deletion_makes_nothing() -> None:
    """Late, or a replay."""
    async with world() as w:
        await w.process(deletion(second=2))
        assert await w.process(created(second=1)) == [Outcome.STALE]
        assert w.homeserver.mxid(ALICE) not in w.homeserver.accounts


async def test_an_identity_of_another_account_is_a_dead_letter_with_both() -> None:
    """Only a person can tell whose it is."""
    async with world(BOB) as w:
        w.homeserver.identities["oidc-nova", ALICE] = w.homeserver.mxid(BOB)
        assert await w.process(created()) == [Outcome.DEAD_LETTER]
        [letter] = w.letters.letters
        assert letter.reason is Reason.EXTERNAL_ID_TAKEN
        assert letter.ids == f"{w.homeserver.mxid(ALICE)} {w.homeserver.mxid(BOB)}"
        assert ALICE not in letter.detail


async def test_without_the_switch_no_account_is_made() -> None:
    """MATRIX_PRECREATE_USERS is off by default."""
    async with world(precreate=False) as w:
        assert await w.process(created(), profile(second=1)) == [Outcome.IGNORED, Outcome.NO_ACCOUNT]
        assert w.homeserver.mxid(ALICE) not in w.homeserver.accounts


# --- password changed


async def test_a_changed_password_ends_every_session() -> None:
    async with world(ALICE) as w:
        w.homeserver.devices[w.homeserver.mxid(ALICE)] = ["PHONE", "LAPTOP"]
        assert await w.process(password()) == [Outcome.APPLIED]
        assert w.homeserver.devices[w.homeserver.mxid(ALICE)] == []


async def test_neither_a_redelivery_nor_an_old_replay_ends_a_new_session() -> None:
    """The person has logged in with the new password."""
    async with world(ALICE) as w:
        w.homeserver.devices[w.homeserver.mxid(ALICE)] = ["PHONE"]
        await w.process(password(second=5))
        w.homeserver.devices[w.homeserver.mxid(ALICE)] = ["NEW"]
        assert await w.process(password(second=5), password(second=1)) == [Outcome.UNCHANGED, Outcome.STALE]
        assert w.homeserver.devices[w.homeserver.mxid(ALICE)] == ["NEW"]


async def test_a_password_that_was_changed_before_the_first_login_ends_nothing_later() -> None:
    async with world() as w:
        assert await w.process(password()) == [Outcome.NO_ACCOUNT]
        w.login(ALICE)
        w.homeserver.devices[w.homeserver.mxid(ALICE)] = ["FIRST"]
        await w.process(profile(second=9))
        assert w.homeserver.devices[w.homeserver.mxid(ALICE)] == ["FIRST"]


async def test_a_changed_password_that_ends_no_session_is_ignored() -> None:
    async with world(ALICE) as w:
        assert await w.process(password(ends=False)) == [Outcome.IGNORED]


# --- the brake


async def test_what_is_beyond_the_brake_is_dead_lettered_and_leaves_no_trace() -> None:
    """A person may find that the deletions were a mistake: the users go on living."""
    async with world(ALICE, BOB, CAROL, deletions=1) as w:
        fates = await w.one_by_one([deletion(ALICE), deletion(BOB, soft=False), profile(BOB, 9, display_name="alive")])
        assert fates == [Outcome.APPLIED, Outcome.DEAD_LETTER, Outcome.APPLIED]
        assert w.letters.reasons == [Reason.DELETION_LIMIT]
        assert w.account(BOB)["displayname"] == "alive"
        assert w.state.record(BOB).status is Status.ACTIVE
        assert w.processor.deletions_exhausted


async def test_a_braked_deletion_is_applied_by_its_replay_once_the_limit_allows_it() -> None:
    async with world(ALICE, BOB, deletions=1) as w:
        await w.one_by_one([deletion(ALICE), deletion(BOB)])
    async with world(ALICE, BOB, deletions=2) as w:
        assert await w.one_by_one([deletion(ALICE), deletion(BOB)]) == [Outcome.APPLIED, Outcome.APPLIED]


async def test_deletions_that_end_nothing_do_not_count() -> None:
    """Of people without an account, or who are gone already."""
    async with world(ALICE, deletions=1) as w:
        fates = await w.one_by_one([deletion(BOB), deletion(CAROL), deletion(ALICE), deletion(ALICE, soft=False)])
        assert fates == [Outcome.NO_ACCOUNT, Outcome.NO_ACCOUNT, Outcome.APPLIED, Outcome.APPLIED]


async def test_in_one_batch_no_more_pass_than_the_brake_allows() -> None:
    """They are settled side by side."""
    async with world(ALICE, BOB, CAROL, deletions=2) as w:
        fates = await w.process(deletion(ALICE), deletion(BOB), deletion(CAROL))
        assert sorted(fates) == [Outcome.APPLIED, Outcome.APPLIED, Outcome.DEAD_LETTER]


def test_the_brake_is_released_after_an_hour() -> None:
    now = 0.0
    brake = DeletionLimit(2, lambda: now)
    assert [brake.try_acquire(), brake.try_acquire(), brake.try_acquire()] == [True, True, False]
    now = HOUR
    assert not brake.exhausted
    assert brake.try_acquire()


def test_without_a_limit_there_is_no_brake() -> None:
    brake = DeletionLimit(0)
    assert all(brake.try_acquire() for _ in range(10_000))
    assert not brake.exhausted


# --- what only this is forbidden


async def test_what_is_forbidden_to_an_admin_is_the_events_fault() -> None:
    """Under an authentication service accounts can't be made over this API: that must not stop the flow."""
    async with world(BOB) as w:
        w.homeserver.forbidden_creations = True
        assert await w.process(created(), profile(BOB)) == [Outcome.DEAD_LETTER, Outcome.APPLIED]
        assert w.letters.reasons == [Reason.SYNAPSE_REFUSED]
        assert w.health.failure is None
