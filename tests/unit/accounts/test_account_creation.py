"""Accounts that are created before the first login."""

import pytest

from function.outcomes import Outcome, Reason
from tests.support.events import ALICE, BOB, created, deletion, profile
from tests.support.harness import world

pytestmark = pytest.mark.anyio

FACE = "https://cdn.example/face.png"


async def test_an_account_is_created_before_the_first_login() -> None:
    """It is linked to the user's identity, so that the login finds it."""
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


async def test_an_existing_account_is_left_unchanged() -> None:
    async with world(ALICE) as w:
        w.homeserver.identities["oidc-nova", ALICE] = w.homeserver.mxid(ALICE)
        before = dict(w.account())
        assert await w.process(created()) == [Outcome.UNCHANGED]
        assert w.account() == before
        assert w.homeserver.calls("PUT") == []


async def test_a_created_event_after_a_deletion_creates_no_account() -> None:
    """The event came late, or is a replay."""
    async with world() as w:
        await w.process(deletion(second=2))
        assert await w.process(created(second=1)) == [Outcome.STALE]
        assert w.homeserver.mxid(ALICE) not in w.homeserver.accounts


async def test_an_identity_of_another_account_is_a_dead_letter_with_both() -> None:
    """Only a person can decide which account is right."""
    async with world(BOB) as w:
        w.homeserver.identities["oidc-nova", ALICE] = w.homeserver.mxid(BOB)
        assert await w.process(created()) == [Outcome.DEAD_LETTER]
        [letter] = w.letters.letters
        assert letter.reason is Reason.EXTERNAL_ID_TAKEN
        assert letter.ids == f"{w.homeserver.mxid(ALICE)} {w.homeserver.mxid(BOB)}"
        assert ALICE not in letter.detail


async def test_no_account_is_created_unless_the_setting_is_on() -> None:
    """MATRIX_PRECREATE_USERS is off by default."""
    async with world(precreate=False) as w:
        assert await w.process(created(), profile(second=1)) == [Outcome.IGNORED, Outcome.NO_ACCOUNT]
        assert w.homeserver.mxid(ALICE) not in w.homeserver.accounts


async def test_a_creation_that_synapse_forbids_is_a_dead_letter() -> None:
    """Under an authentication service accounts can't be made over this API: that must not stop the flow."""
    async with world(BOB) as w:
        w.homeserver.forbidden_creations = True
        assert await w.process(created(), profile(BOB)) == [Outcome.DEAD_LETTER, Outcome.APPLIED]
        assert w.letters.reasons == [Reason.SYNAPSE_REFUSED]
        assert w.health.failure is None


async def test_an_identity_that_was_not_linked_is_linked_by_the_replay() -> None:
    """The account is there; its first login would open a second one."""
    async with world(BOB) as w:
        w.homeserver.identities["oidc-nova", ALICE] = w.homeserver.mxid(BOB)
        assert await w.process(created()) == [Outcome.DEAD_LETTER]
        assert await w.process(created()) == [Outcome.DEAD_LETTER]
        assert w.letters.reasons == [Reason.EXTERNAL_ID_TAKEN] * 2
        del w.homeserver.identities["oidc-nova", ALICE]
        assert await w.process(created()) == [Outcome.APPLIED]
        assert w.homeserver.identities["oidc-nova", ALICE] == w.homeserver.mxid(ALICE)
        assert await w.process(created()) == [Outcome.UNCHANGED]


async def test_no_profile_is_written_for_an_account_that_could_not_be_created() -> None:
    """Synapse would answer 200, and never let the id be used again."""
    async with world() as w:
        w.homeserver.forbidden_creations = True
        await w.process(profile(second=1, avatar_url="mxc://test.example/face"))
        assert await w.process(created(second=2)) == [Outcome.DEAD_LETTER]
        assert w.homeserver.poisoned == set()
        w.login(ALICE)
