"""Avatars: images are copied into Synapse, set as the avatar and deleted when they are no longer used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.kafka.record import KafkaRecord
from function.outcomes import Outcome, Reason
from tests.support.events import ALICE, BOB, deletion, profile
from tests.support.harness import Harness, world

pytestmark = pytest.mark.anyio

FACE = "https://cdn.example/face.png"

OTHER = "https://cdn.example/other.png"


def calls(w: Harness) -> list[str]:
    """The calls since the last look, as method and last word of the path."""
    made = [f"{method} {path.rpartition('/')[2].partition('@')[0]}".strip() for method, path in w.homeserver.requests]
    w.homeserver.requests.clear()
    return made


async def lose(w: Harness, event: KafkaRecord) -> None:
    """Synapse takes the calls; the record is not saved."""
    w.state.losing = 1
    assert await w.process(event) == [Outcome.RETRY]
    w.health.failure = None


async def test_an_https_avatar_is_copied_and_shown() -> None:
    """Clients only show mxc URIs."""
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
    """It is noticed at the next profile event, whatever that event changed."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        w.avatars.images[FACE] = b"other face"
        assert await w.process(profile(second=2, avatar_url=FACE)) == [Outcome.APPLIED]
        assert list(w.homeserver.media.values()) == [b"other face"]
        assert w.account()["avatar_url"] in w.homeserver.media


async def test_the_same_bytes_from_elsewhere_are_not_uploaded_twice() -> None:
    """For example after a CDN moved."""
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
async def test_an_avatar_that_cannot_be_fetched_delays_neither_the_name_nor_other_users(reason: Reason) -> None:
    """A CDN outage must not stop deletions."""
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


async def test_an_image_is_not_fetched_for_a_user_without_an_account() -> None:
    """It is not uploaded either: nothing would delete it."""
    async with world() as w:
        w.avatars.images[FACE] = b"face"
        assert await w.process(profile(avatar_url=FACE)) == [Outcome.NO_ACCOUNT]
        assert (w.avatars.asked, w.homeserver.media) == ([], {})


async def test_an_upload_whose_save_failed_is_reused() -> None:
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


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_image_is_uploaded_again_after_a_removal_whose_save_was_lost(
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
async def test_the_last_avatar_is_set_although_the_save_of_the_one_before_was_lost(restarted: bool) -> None:
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
async def test_any_sequence_of_avatars_and_lost_saves_ends_with_the_last_avatar(
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


async def test_a_copy_that_another_replica_deleted_is_uploaded_again() -> None:
    """An image that this process uploaded earlier may be gone."""
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
    """The handling of lost saves must not cost each such batch a lookup."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        calls(w)
        await w.process(profile(second=2, avatar_url=FACE), profile(second=3, avatar_url=FACE))
        assert calls(w) == []
