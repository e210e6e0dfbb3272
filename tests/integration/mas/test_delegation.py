"""What Synapse is told alone is undone, and what MAS is told holds: people log in, out and on."""

from datetime import UTC, datetime, timedelta

import pytest

from function.outcomes import Reason, Rejected, TryAgain
from tests.integration.mas.deployment import Deployment, eventually

pytestmark = pytest.mark.anyio


async def test_a_deletion_at_synapse_alone_is_undone_by_a_login(deployment: Deployment, user: str) -> None:
    """Synapse says deactivated and erased, MAS says active, and the person goes on."""
    person = deployment.person(user)
    before = deployment.server.log_in(person)
    assert await deployment.alone.deactivate(user, erase=True)
    assert not deployment.server.works(before.token)
    after = deployment.server.log_in(person)
    assert deployment.server.works(after.token)
    assert deployment.goes_on(after)
    assert deployment.sides(user) == (False, True, True)


@pytest.mark.parametrize("erase", [False, True])
async def test_a_deletion_on_both_sides_holds(deployment: Deployment, user: str, erase: bool) -> None:
    """The person who was logged in before is out, and no login is left."""
    person = deployment.person(user)
    before = deployment.server.log_in(person)
    assert deployment.goes_on(before)
    assert await deployment.both.deactivate(user, erase=erase)
    assert deployment.sides(user) == (True, True, erase)
    assert not deployment.server.works(before.token)
    assert deployment.server.try_login(person).status_code == 403


async def test_a_deletion_that_synapse_alone_has_seen_is_half_done_and_is_finished(
    deployment: Deployment, user: str
) -> None:
    person = deployment.person(user)
    await deployment.alone.deactivate(user, erase=False)
    half = await deployment.both.account(user)
    assert half
    assert half.half_ended
    assert not half.ended
    await deployment.both.deactivate(user, erase=False)
    whole = await deployment.both.account(user)
    assert whole
    assert whole.ended
    assert deployment.server.try_login(person).status_code == 403


async def test_a_soft_deletion_becomes_an_erasure(deployment: Deployment, user: str) -> None:
    deployment.person(user)
    await deployment.both.deactivate(user, erase=False)
    await deployment.both.deactivate(user, erase=True)
    assert deployment.sides(user) == (True, True, True)


async def test_sessions_that_synapse_alone_ends_come_alive_again(deployment: Deployment, user: str) -> None:
    """At MAS's next device sync: a logout elsewhere is enough."""
    person = deployment.person(user)
    first, second = deployment.server.log_in(person), deployment.server.log_in(person)
    assert await deployment.alone.end_sessions(user, datetime.now(UTC))
    assert not deployment.server.works(first.token)
    third = deployment.server.log_in(person)
    deployment.server.log_out(third)
    assert await eventually(lambda: deployment.server.works(first.token) and deployment.server.works(second.token))


async def test_sessions_that_mas_ends_stay_ended_and_later_ones_live(deployment: Deployment, user: str) -> None:
    """Neither a logout elsewhere nor a lock brings them back; a session that began after the change goes on."""
    person = deployment.person(user)
    first, second = deployment.server.log_in(person), deployment.server.log_in(person)
    changed = datetime.now(UTC)
    third, fourth = deployment.server.log_in(person), deployment.server.log_in(person)
    assert await deployment.both.end_sessions(user, changed)
    assert await eventually(lambda: not deployment.server.works(first.token))
    deployment.server.log_out(fourth)
    await deployment.lock_and_unlock(person)
    assert not deployment.server.works(first.token)
    assert not deployment.server.works(second.token)
    assert deployment.server.works(third.token)
    assert deployment.server.devices(person.mxid) == [third.device]


async def test_every_kind_of_session_ends_that_began_before_the_change(deployment: Deployment, user: str) -> None:
    person, changed = deployment.person(user), datetime.now(UTC)
    for kind in ("user", "oauth2", "compat"):
        for at in (changed - timedelta(days=1), changed + timedelta(seconds=1)):
            session = {"kind": kind, "username": person.localpart, "created_at": at.isoformat()}
            deployment.control("POST", "sessions", session)
    assert await deployment.both.end_sessions(user, changed)
    left = [len(deployment.server.sessions(kind, person.id)) for kind in ("user", "oauth2", "compat")]
    assert left == [1, 1, 1]
    assert await deployment.both.end_sessions(user, changed) is False


async def test_an_account_cannot_be_created_at_synapse(deployment: Deployment, user: str) -> None:
    """The event waits, and is no dead letter: MAS is not configured."""
    path = f"/_synapse/admin/v2/users/@nova-{user}:{deployment.server.server_name}"
    assert deployment.server.synapse("PUT", path, {"displayname": "Ada"}).status_code == 403
    with pytest.raises(TryAgain) as waits:
        await deployment.alone.create(user, "Ada", "oidc-nova")
    assert waits.value.reason is Reason.MAS_NOT_CONFIGURED
    assert await deployment.both.account(user) is None


async def test_an_account_is_created_at_mas_with_its_name_and_its_link(deployment: Deployment, user: str) -> None:
    made = await deployment.both.create(user, "Ada", deployment.server.provider)
    assert (made.display_name, made.linked, made.mas_active) == ("Ada", True, True)
    assert deployment.sides(user) == (False, False, False)
    assert deployment.server.account(f"@nova-{user}:{deployment.server.server_name}")["displayname"] == "Ada"
    again = await deployment.both.create(user, "Ada", deployment.server.provider)
    assert again.linked


async def test_an_identity_of_another_account_is_refused_with_both_accounts(deployment: Deployment, user: str) -> None:
    """Then both are there, and a person decides."""
    other = deployment.server.create()
    link = {"user_id": other["id"], "provider_id": deployment.server.provider, "subject": user}
    deployment.server.admin("POST", "upstream-oauth-links", link).raise_for_status()
    with pytest.raises(Rejected) as refused:
        await deployment.both.create(user, "Ada", deployment.server.provider)
    assert refused.value.reason is Reason.EXTERNAL_ID_TAKEN
    assert refused.value.ids == " ".join(
        f"@{name}:{deployment.server.server_name}" for name in (f"nova-{user}", other["username"])
    )


async def test_names_are_synapses_as_before(deployment: Deployment, user: str) -> None:
    person = deployment.person(user)
    await deployment.both.set_display_name(user, "Ada Lovelace")
    assert deployment.server.account(person.mxid)["displayname"] == "Ada Lovelace"


async def test_an_account_that_mas_does_not_know_is_ended_at_synapse(deployment: Deployment, user: str) -> None:
    person = deployment.person(user)
    deployment.control("DELETE", f"users/{person.localpart}")
    assert await deployment.both.deactivate(user, erase=False)
    assert deployment.server.account(person.mxid)["deactivated"]


async def test_a_user_of_neither_is_no_error(deployment: Deployment, user: str) -> None:
    assert await deployment.both.account(user) is None
    assert await deployment.both.deactivate(user, erase=True) is False
    assert await deployment.both.end_sessions(user, datetime.now(UTC)) is False
