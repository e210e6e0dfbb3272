"""How accounts get the users' identities, on the fake and on a real Synapse."""

import uuid

import pytest

from function.homeserver.account import Account
from function.outcomes import Reason, Rejected
from tests.contract.servers.homeservers import Homeserver

pytestmark = pytest.mark.anyio

PROVIDER = "oidc-nova"
OTHER = "oidc-elsewhere"


async def test_an_account_is_created_with_its_name_and_its_identity(homeserver: Homeserver, user: str) -> None:
    """The first login then uses it."""
    created = await homeserver.synapse.create(user, "Ada", PROVIDER)
    assert created == Account(display_name="Ada", linked=True)
    assert await homeserver.synapse.account(user, PROVIDER) == created


async def test_creating_twice_is_harmless(homeserver: Homeserver, user: str) -> None:
    """A redelivered event repeats the call."""
    for _ in range(2):
        await homeserver.synapse.create(user, "Ada", PROVIDER)
    assert await homeserver.synapse.account(user, PROVIDER) == Account(display_name="Ada", linked=True)


async def test_an_identity_of_another_account_is_refused_with_both_accounts(homeserver: Homeserver, user: str) -> None:
    """The account is created all the same; a person has to decide."""
    other = str(uuid.uuid4())
    await homeserver.create(other)
    await homeserver.take_identity(other, PROVIDER, user)
    with pytest.raises(Rejected) as caught:
        await homeserver.synapse.create(user, "Ada", PROVIDER)
    assert caught.value.reason is Reason.EXTERNAL_ID_TAKEN
    assert caught.value.ids == f"{homeserver.synapse.mxid(user)} {homeserver.synapse.mxid(other)}"
    assert await homeserver.synapse.account(user, PROVIDER) == Account(display_name="Ada", linked=False)


async def test_an_account_without_the_identity_gets_it(homeserver: Homeserver, user: str) -> None:
    """Synapse stopped after it had created the account, or the user's first event came after another client's creation."""
    await homeserver.create(user, "Ada")
    assert await homeserver.synapse.account(user, PROVIDER) == Account(display_name="Ada", linked=False)
    assert await homeserver.synapse.link(user, PROVIDER) is True
    assert await homeserver.synapse.account(user, PROVIDER) == Account(display_name="Ada", linked=True)


async def test_identities_that_are_written_replace_those_that_were_there(homeserver: Homeserver, user: str) -> None:
    """The trap for which `link` reads them first."""
    await homeserver.create(user)
    await homeserver.take_identity(user, OTHER, f"elsewhere-{user}")
    await homeserver.take_identity(user, PROVIDER, user)
    assert await homeserver.identities(user) == {(PROVIDER, user)}


async def test_linking_leaves_the_identities_at_other_providers(homeserver: Homeserver, user: str) -> None:
    """The Admin API replaces the whole list; without them the user could no longer log in there."""
    await homeserver.create(user)
    await homeserver.take_identity(user, OTHER, f"elsewhere-{user}")
    for _ in range(2):
        assert await homeserver.synapse.link(user, PROVIDER) is True
        assert await homeserver.identities(user) == {(PROVIDER, user), (OTHER, f"elsewhere-{user}")}


async def test_linking_an_unknown_account_does_not_create_it(homeserver: Homeserver, user: str) -> None:
    """The Admin API would create it, with the id as its name."""
    assert await homeserver.synapse.link(user, PROVIDER) is False
    assert await homeserver.raw_account(user) is None


async def test_a_refused_link_changes_nothing(homeserver: Homeserver, user: str) -> None:
    """The identity belongs to another account; the letter names both."""
    other = str(uuid.uuid4())
    await homeserver.create(user)
    await homeserver.take_identity(user, OTHER, f"elsewhere-{user}")
    await homeserver.create(other)
    await homeserver.take_identity(other, PROVIDER, user)
    with pytest.raises(Rejected) as caught:
        await homeserver.synapse.link(user, PROVIDER)
    assert caught.value.reason is Reason.EXTERNAL_ID_TAKEN
    assert caught.value.ids == f"{homeserver.synapse.mxid(user)} {homeserver.synapse.mxid(other)}"
    assert await homeserver.identities(user) == {(OTHER, f"elsewhere-{user}")}


async def test_linking_a_deactivated_account_leaves_it_deactivated(homeserver: Homeserver, user: str) -> None:
    """A late link never takes a deletion back."""
    await homeserver.create(user)
    await homeserver.synapse.deactivate(user, erase=True)
    assert await homeserver.synapse.link(user, PROVIDER) is True
    ended = await homeserver.synapse.account(user, PROVIDER)
    assert ended == Account(deactivated=True, erased=True, linked=True)
