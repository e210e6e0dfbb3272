"""Late and failed jobs, lost answers, tokens that end, and either side away: what is asked is done in the end, on both sides."""

import pytest

from function.outcomes import Reason, TryAgain
from tests.integration.mas.deployment import Deployment

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("trouble", ["held", "failing"])
async def test_a_job_of_mas_that_does_not_come_leaves_nobody_behind(
    deployment: Deployment, user: str, trouble: str
) -> None:
    """The account is then ended at Synapse by its own call, and the sessions are over."""
    person = deployment.person(user)
    before = deployment.server.log_in(person)
    deployment.control("PUT", "jobs", {trouble: True})
    assert await deployment.both.deactivate(user, erase=True)
    assert deployment.sides(user) == (True, True, True)
    assert not deployment.server.works(before.token)
    assert deployment.server.try_login(person).status_code == 403


async def test_the_service_is_ready_only_with_the_owner_that_the_homeserver_has(deployment: Deployment) -> None:
    assert await deployment.both.probe() == f"@{deployment.service_user}:{deployment.server.server_name}"
    with pytest.raises(TryAgain) as refused:
        await deployment.alone.probe()
    assert refused.value.reason is Reason.MAS_NOT_CONFIGURED


async def test_the_service_makes_its_own_token_and_another_when_it_ends(deployment: Deployment, user: str) -> None:
    """Also the client's token ends here; neither end is seen outside."""
    deployment.person(user)
    assert await deployment.both.account(user)
    first = await deployment.session.token()
    deployment.control("DELETE", f"tokens?username={deployment.service_user}")
    assert await deployment.both.deactivate(user, erase=False)
    second = await deployment.session.renewed(first)
    assert second != first
    assert deployment.sides(user) == (True, True, False)


async def test_while_mas_is_down_nothing_is_changed_and_everything_waits(deployment: Deployment, user: str) -> None:
    deployment.person(user)
    assert await deployment.both.account(user)
    mas = deployment.server.stand_in
    assert mas
    mas.stop()
    with pytest.raises(TryAgain) as waits:
        await deployment.both.deactivate(user, erase=True)
    assert waits.value.reason is Reason.MAS_UNAVAILABLE
    mas.start()
    assert deployment.sides(user) == (False, False, False)
    assert await deployment.both.deactivate(user, erase=True)
    assert deployment.sides(user) == (True, True, True)


async def test_while_synapse_is_down_a_deletion_waits_and_is_then_done_on_both_sides(
    deployment: Deployment, user: str
) -> None:
    person = deployment.person(user)
    synapse = deployment.server.running_synapse
    assert synapse
    synapse.stop()
    with pytest.raises(TryAgain) as waits:
        await deployment.both.deactivate(user, erase=True)
    assert waits.value.reason is Reason.SYNAPSE_UNAVAILABLE
    assert deployment.server.try_login(person).status_code == 403
    synapse.start()
    assert await deployment.both.deactivate(user, erase=True)
    assert deployment.sides(user) == (True, True, True)


async def test_an_answer_of_mas_that_is_lost_does_no_harm(deployment: Deployment, user: str) -> None:
    """MAS has deactivated the user; the deletion is repeated and ends on both sides."""
    deployment.person(user)
    fault = {"path": "/api/admin/v1/users/", "method": "POST", "times": 1, "after": True}
    deployment.control("POST", "faults", fault)
    assert await deployment.both.deactivate(user, erase=True)
    assert deployment.sides(user) == (True, True, True)
