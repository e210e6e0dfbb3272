"""What MAS answers while Synapse is away, and the other way round."""

from collections.abc import Iterator

import pytest

from dev.servers.mas import DelegatingSynapse, Mas
from tests.contract.mas.server import Server, new_localpart, soon, title


@pytest.fixture
def synapse(server: Server, stand_in: Mas) -> Iterator[DelegatingSynapse]:
    """Synapse, which a test may stop; afterwards it runs."""
    assert server.running_synapse
    yield server.running_synapse
    server.running_synapse.start()


def test_without_synapse_a_deactivation_is_taken_and_creation_and_reactivation_fail(
    server: Server, synapse: DelegatingSynapse
) -> None:
    """The deactivation reaches Synapse once it is back; nothing is left of the creation."""
    person, gone, name = server.person(), server.person(), new_localpart()
    server.admin("POST", f"users/{gone.id}/deactivate", {"skip_erase": True}).raise_for_status()
    synapse.stop()
    assert server.admin("POST", f"users/{person.id}/deactivate", {"skip_erase": True}).status_code == 200
    created = server.admin("POST", "users", {"username": name})
    assert (created.status_code, bool(title(created))) == (500, True)
    assert server.user(name) == {}
    assert server.admin("POST", f"users/{gone.id}/reactivate").status_code == 500
    assert server.user(gone.localpart)["deactivated_at"]
    synapse.start()
    assert soon(lambda: bool(server.account(person.mxid)["deactivated"]))


def test_without_mas_synapse_takes_the_tokens_that_it_knows_and_no_others(server: Server, stand_in: Mas) -> None:
    """It keeps what MAS said of a token for up to 2 minutes."""
    person = server.person()
    known, fresh = server.log_in(person), server.log_in(person)
    assert server.works(known.token)
    stand_in.control("POST", "faults", {"path": "/oauth2/introspect"})
    assert server.works(known.token)
    answer = server.synapse("GET", "/_matrix/client/v3/account/whoami", token=fresh.token)
    assert (answer.status_code, answer.json()["errcode"]) == (503, "M_UNKNOWN")


def test_the_stand_in_keeps_its_users_sessions_and_jobs_over_a_stop(server: Server, stand_in: Mas) -> None:
    person = server.person()
    login = server.log_in(person)
    stand_in.control("PUT", "jobs", {"held": True})
    server.admin("POST", f"users/{person.id}/deactivate", {"skip_erase": True}).raise_for_status()
    assert not server.account(person.mxid)["deactivated"]
    stand_in.stop()
    stand_in.start()
    assert server.user(person.localpart)["id"] == person.id
    assert soon(lambda: bool(server.account(person.mxid)["deactivated"]))
    assert soon(lambda: not server.works(login.token))
