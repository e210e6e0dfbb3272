"""What `function.homeserver.synapse.Synapse` relies on, held against every homeserver that is plugged in."""

import pytest

from function.homeserver.account import Account
from function.homeserver.synapse import Synapse
from function.outcomes import Reason, Rejected, TryAgain
from tests.contract.servers.homeservers import Homeserver
from tests.support.fake_dapr import FakeTokens
from tests.support.images import PNG

pytestmark = pytest.mark.anyio


AVATAR = "mxc://test.example/abcdef"


async def refusal(synapse: Synapse) -> Reason:
    with pytest.raises(TryAgain) as caught:
        await synapse.probe()
    return caught.value.reason


async def test_an_unknown_account_is_none(homeserver: Homeserver, user: str) -> None:
    """A missing account is an answer, not a failure."""
    assert await homeserver.synapse.account(user) is None


async def test_a_new_account_is_active_and_has_its_name(homeserver: Homeserver, user: str) -> None:
    """The plan compares with these four facts."""
    await homeserver.create(user, "Some One")
    assert await homeserver.synapse.account(user) == Account(display_name="Some One")


async def test_deactivating_an_unknown_account_says_that_there_is_none(homeserver: Homeserver, user: str) -> None:
    """Deleting a user who never logged in is no error."""
    assert await homeserver.synapse.deactivate(user, erase=True) is False
    assert await homeserver.raw_account(user) is None


async def test_deactivating_is_idempotent(homeserver: Homeserver, user: str) -> None:
    """A redelivered deletion repeats the call."""
    await homeserver.create(user)
    assert await homeserver.synapse.deactivate(user, erase=False) is True
    assert await homeserver.synapse.deactivate(user, erase=False) is True
    account = await homeserver.synapse.account(user)
    assert account is not None
    assert (account.deactivated, account.erased) == (True, False)


async def test_erasing_takes_name_and_avatar_away(homeserver: Homeserver, user: str) -> None:
    """A hard deletion leaves nothing personal behind."""
    await homeserver.create(user)
    await homeserver.synapse.set_avatar(user, AVATAR)
    assert await homeserver.synapse.deactivate(user, erase=True) is True
    assert await homeserver.synapse.account(user) == Account(deactivated=True, erased=True)


async def test_erasing_after_a_soft_deletion_upgrades_it(homeserver: Homeserver, user: str) -> None:
    """A hard deletion can follow a soft one."""
    await homeserver.create(user)
    await homeserver.synapse.deactivate(user, erase=False)
    await homeserver.synapse.deactivate(user, erase=True)
    assert await homeserver.synapse.account(user) == Account(deactivated=True, erased=True)


async def test_a_soft_deletion_never_takes_an_erasure_back(homeserver: Homeserver, user: str) -> None:
    """The late soft deletion of an erased user changes nothing."""
    await homeserver.create(user)
    await homeserver.synapse.deactivate(user, erase=True)
    await homeserver.synapse.deactivate(user, erase=False)
    assert await homeserver.synapse.account(user) == Account(deactivated=True, erased=True)


async def test_a_write_after_the_erasure_would_bring_personal_data_back(homeserver: Homeserver, user: str) -> None:
    """The trap for which the plan never writes to an ended account, and erases again where a name is seen."""
    await homeserver.create(user)
    await homeserver.synapse.deactivate(user, erase=True)
    await homeserver.synapse.set_display_name(user, "Back Again")
    assert await homeserver.synapse.account(user) == Account(deactivated=True, erased=True, display_name="Back Again")
    await homeserver.synapse.deactivate(user, erase=True)
    assert await homeserver.synapse.account(user) == Account(deactivated=True, erased=True)


async def test_a_profile_is_set_and_unset(homeserver: Homeserver, user: str) -> None:
    """ "" is how both fields are cleared."""
    await homeserver.create(user)
    await homeserver.synapse.set_display_name(user, "Ünïcödé 🦊")
    await homeserver.synapse.set_avatar(user, AVATAR)
    assert await homeserver.synapse.account(user) == Account(display_name="Ünïcödé 🦊", avatar=AVATAR)
    await homeserver.synapse.set_display_name(user, "")
    await homeserver.synapse.set_avatar(user, "")
    assert await homeserver.synapse.account(user) == Account()


async def test_writing_the_profile_of_an_unknown_account_spoils_its_id(homeserver: Homeserver, user: str) -> None:
    """The trap for which a profile is never written before the account was seen: the answer does not tell."""
    await homeserver.synapse.set_display_name(user, "No One")
    assert await homeserver.raw_account(user) is None
    answer = await homeserver.http.put(
        f"/_synapse/admin/v2/users/{homeserver.synapse.mxid(user)}",
        json={"displayname": "Some One"},
        headers={"Authorization": f"Bearer {homeserver.token}"},
    )
    assert answer.status_code == 500


async def test_a_name_of_256_characters_is_taken(homeserver: Homeserver, user: str) -> None:
    """The limit that decoding enforces is Synapse's."""
    await homeserver.create(user)
    await homeserver.synapse.set_display_name(user, "é" * 256)
    assert await homeserver.synapse.account(user) == Account(display_name="é" * 256)


async def test_a_name_of_257_characters_is_refused(homeserver: Homeserver, user: str) -> None:
    """A 4xx of Synapse's own is the event's fault, with the code and without the value."""
    await homeserver.create(user, "Before")
    with pytest.raises(Rejected) as caught:
        await homeserver.synapse.set_display_name(user, "é" * 257)
    assert (caught.value.reason, caught.value.detail) == (Reason.SYNAPSE_REFUSED, "400 M_UNKNOWN")
    assert await homeserver.synapse.account(user) == Account(display_name="Before")


async def test_an_avatar_of_over_1000_characters_is_refused(homeserver: Homeserver, user: str) -> None:
    """As with names: the limit that decoding enforces is Synapse's."""
    await homeserver.create(user)
    with pytest.raises(Rejected) as caught:
        await homeserver.synapse.set_avatar(user, "mxc://test.example/" + "a" * 1000)
    assert caught.value.reason is Reason.SYNAPSE_REFUSED


async def test_the_probe_tells_whose_token_it_is(homeserver: Homeserver) -> None:
    """`check` compares it with MATRIX_SERVICE_USER."""
    assert await homeserver.synapse.probe() == homeserver.service_user


async def test_the_probe_notices_a_wrong_server_name(homeserver: Homeserver) -> None:
    """With a wrong name every user would look unknown, and every deletion would be let go."""
    synapse = homeserver.with_tokens(FakeTokens(homeserver.token), "elsewhere.example")
    assert await refusal(synapse) is Reason.SERVER_NAME_MISMATCH


async def test_a_wrong_token_makes_everything_wait(homeserver: Homeserver, user: str) -> None:
    """A token that was revoked is no reason to lose an event."""
    synapse = homeserver.with_tokens(FakeTokens("not-a-token"))
    assert await refusal(synapse) is Reason.TOKEN_REFUSED
    with pytest.raises(TryAgain) as caught:
        await synapse.deactivate(user, erase=True)
    assert caught.value.reason is Reason.TOKEN_REFUSED


async def test_a_renewed_token_is_used_at_once(homeserver: Homeserver) -> None:
    """Rotating the secret needs no restart."""
    tokens = FakeTokens("revoked-meanwhile")
    tokens.now = homeserver.token
    synapse = homeserver.with_tokens(tokens)
    assert await synapse.probe() == homeserver.service_user
    assert tokens.reads == 1


async def test_a_token_that_is_no_admins_makes_everything_wait(homeserver: Homeserver, user: str) -> None:
    """An admin who was demoted looks different on the admin API (403) and on profiles (400): both are the token."""
    await homeserver.create(user)
    synapse = homeserver.with_tokens(FakeTokens(await homeserver.plain_token()))
    assert await refusal(synapse) is Reason.TOKEN_REFUSED
    with pytest.raises(TryAgain) as caught:
        await synapse.set_display_name(user, "Another Name")
    assert caught.value.reason is Reason.TOKEN_REFUSED
    assert await homeserver.synapse.account(user) == Account(display_name="First Name")


# --- media, rooms


async def test_an_upload_is_there_until_it_is_deleted(homeserver: Homeserver, user: str) -> None:
    """Deleting twice is harmless."""
    mxc = await homeserver.synapse.upload(PNG, "image/png", user)
    assert mxc.startswith(f"mxc://{homeserver.server_name}/")
    assert await homeserver.has_media(mxc)
    for _ in range(2):
        await homeserver.synapse.delete_media(mxc)
    assert not await homeserver.has_media(mxc)


async def test_the_same_bytes_give_a_new_address_each_time(homeserver: Homeserver, user: str) -> None:
    """So what was uploaded is remembered."""
    first, second = [await homeserver.synapse.upload(PNG, "image/png", user) for _ in range(2)]
    assert first != second


async def test_a_new_account_is_in_no_room(homeserver: Homeserver, user: str) -> None:
    await homeserver.create(user)
    assert await homeserver.synapse.joined_rooms(user) == 0
