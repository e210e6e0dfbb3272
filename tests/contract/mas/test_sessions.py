"""Which sessions MAS lists and ends, and what Synapse has of them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from dev.servers.mas import Mas
from tests.contract.mas.server import NO_SUCH_USER, Login, Person, Server, soon, title

KINDS = ("user", "oauth2", "compat")


def _session_of(server: Server, person: Person, login: Login) -> dict[str, Any]:
    return next(one for one in server.sessions("compat", person.id) if one["device_id"] == login.device)


def test_a_login_is_a_compat_session_with_a_device_in_synapse(server: Server) -> None:
    person = server.person()
    login = server.log_in(person)
    assert server.works(login.token)
    assert server.devices(person.mxid) == [login.device]
    session = _session_of(server, person, login)
    assert session["finished_at"] is None
    assert session["user_id"] == person.id


def test_a_finished_session_is_dead_in_synapse_soon_and_the_others_live(server: Server) -> None:
    person = server.person()
    first, second = server.log_in(person), server.log_in(person)
    assert server.works(first.token)
    key = _session_of(server, person, first)["id"]
    assert server.admin("POST", f"compat-sessions/{key}/finish").status_code == 200
    assert soon(lambda: not server.works(first.token))
    assert server.works(second.token)
    assert [one["device_id"] for one in server.sessions("compat", person.id)] == [second.device]


def test_a_session_is_finished_once(server: Server) -> None:
    person = server.person()
    key = _session_of(server, person, server.log_in(person))["id"]
    server.admin("POST", f"compat-sessions/{key}/finish").raise_for_status()
    answer = server.admin("POST", f"compat-sessions/{key}/finish")
    assert answer.status_code == 400
    assert title(answer).endswith("is already finished")


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_session_is_not_found(server: Server, kind: str) -> None:
    assert server.admin("POST", f"{kind}-sessions/{NO_SUCH_USER}/finish").status_code == 404


@pytest.mark.parametrize("kind", KINDS)
def test_the_sessions_of_an_unknown_user_are_not_found(server: Server, kind: str) -> None:
    answer = server.admin("GET", f"{kind}-sessions?filter[user]={NO_SUCH_USER}")
    assert (answer.status_code, title(answer)) == (404, f"User ID {NO_SUCH_USER} not found")


def test_sessions_are_listed_that_began_strictly_before_a_time(server: Server) -> None:
    person = server.person()
    first = _session_of(server, person, server.log_in(person))
    second = _session_of(server, person, server.log_in(person))

    def before(at: datetime) -> list[str]:
        query = f"filter[status]=active&filter[created-before]={quote(at.isoformat(), safe='')}"
        return [one["id"] for one in server.sessions("compat", person.id, query)]

    began = datetime.fromisoformat(second["created_at"])
    assert before(began) == [first["id"]]
    assert before(began + timedelta(microseconds=1)) == [first["id"], second["id"]]


def test_a_list_of_sessions_goes_on_after_the_last_one_of_a_page(server: Server) -> None:
    person = server.person()
    for _ in range(3):
        server.log_in(person)
    every = [one["id"] for one in server.sessions("compat", person.id)]
    assert len(every) == 3
    assert [one["id"] for one in server.sessions("compat", person.id, "page[first]=2")] == every[:2]
    assert [one["id"] for one in server.sessions("compat", person.id, f"page[after]={every[1]}")] == every[2:]


def test_a_logout_undoes_the_deletion_of_another_device_at_synapse(server: Server) -> None:
    """MAS tells Synapse all devices that the person should have, and the old token is taken again."""
    person = server.person()
    first, second = server.log_in(person), server.log_in(person)
    assert server.works(first.token)
    server.delete_devices(person.mxid, first.device)
    assert not server.works(first.token)
    server.log_out(second)
    assert soon(lambda: server.works(first.token))
    assert soon(lambda: server.devices(person.mxid) == [first.device])


def test_a_lock_and_an_unlock_undo_it_too(server: Server) -> None:
    person = server.person()
    login = server.log_in(person)
    server.delete_devices(person.mxid, login.device)
    assert not server.works(login.token)
    server.admin("POST", f"users/{person.id}/lock").raise_for_status()
    server.admin("POST", f"users/{person.id}/unlock").raise_for_status()
    assert soon(lambda: server.works(login.token))


def test_another_login_alone_does_not(server: Server) -> None:
    person = server.person()
    login = server.log_in(person)
    server.delete_devices(person.mxid, login.device)
    other = server.log_in(person)
    assert server.works(other.token)
    assert server.devices(person.mxid) == [other.device]
    assert not server.works(login.token)


def test_a_lock_keeps_the_person_out_until_the_unlock(server: Server) -> None:
    person = server.person()
    server.admin("POST", f"users/{person.id}/lock").raise_for_status()
    assert server.try_login(person).status_code == 403
    assert soon(lambda: server.account(person.mxid)["locked"])
    server.admin("POST", f"users/{person.id}/unlock").raise_for_status()
    assert server.try_login(person).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_finished_in_the_same_way(server: Server, stand_in: Mas, kind: str) -> None:
    person = server.person()
    body = {
        "kind": kind,
        "username": person.localpart,
        "created_at": (datetime.now(UTC) - timedelta(days=1)).isoformat(),
    }
    began = stand_in.control("POST", "sessions", body)
    (session,) = server.sessions(kind, person.id)
    assert session["id"] == began["id"]
    assert not began["access_token"] or server.works(began["access_token"])
    assert server.admin("POST", f"{kind}-sessions/{began['id']}/finish").status_code == 200
    assert server.admin("POST", f"{kind}-sessions/{began['id']}/finish").status_code == 400
    assert server.sessions(kind, person.id) == []
    assert soon(lambda: not began["access_token"] or not server.works(began["access_token"]))
