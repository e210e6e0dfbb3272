"""How a deactivation at MAS reaches Synapse, and what it ends."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from dev.servers.mas import Mas
from tests.contract.mas.server import NO_SUCH_USER, Person, Server, soon, title


def _deactivate(server: Server, person: Person, **body: bool) -> dict[str, Any]:
    answer = server.admin("POST", f"users/{person.id}/deactivate", body or None)
    assert answer.status_code == 200
    return dict(answer.json()["data"]["attributes"])


def _is(server: Server, person: Person, *, deactivated: bool, erased: bool) -> Callable[[], bool]:
    def looks() -> bool:
        account = server.account(person.mxid)
        return bool(account["deactivated"]) is deactivated and bool(account["erased"]) is erased

    return looks


def test_a_deactivated_person_is_out_on_both_sides(server: Server) -> None:
    """The session ends, a login is refused, and Synapse has the account deactivated."""
    person = server.person()
    login = server.log_in(person)
    assert server.works(login.token)
    assert _deactivate(server, person, skip_erase=True)["deactivated_at"]
    refused = server.try_login(person)
    assert (refused.status_code, refused.json()["errcode"]) == (403, "M_FORBIDDEN")
    assert soon(_is(server, person, deactivated=True, erased=False))
    assert soon(lambda: not server.works(login.token))
    assert server.sessions("compat", person.id) == []


def test_without_a_body_the_account_is_erased(server: Server) -> None:
    person = server.person()
    _deactivate(server, person)
    assert soon(_is(server, person, deactivated=True, erased=True))


def test_an_erasure_after_a_deactivation_erases_and_is_not_taken_back(server: Server) -> None:
    person = server.person()
    _deactivate(server, person, skip_erase=True)
    assert soon(_is(server, person, deactivated=True, erased=False))
    _deactivate(server, person, skip_erase=False)
    assert soon(_is(server, person, deactivated=True, erased=True))
    _deactivate(server, person, skip_erase=True)
    assert soon(lambda: server.devices(person.mxid) == [])
    assert _is(server, person, deactivated=True, erased=True)()


def test_a_second_deactivation_keeps_the_time_of_the_first(server: Server) -> None:
    person = server.person()
    first = _deactivate(server, person, skip_erase=True)["deactivated_at"]
    assert _deactivate(server, person, skip_erase=True)["deactivated_at"] == first


def test_a_deactivation_at_synapse_first_does_no_harm(server: Server) -> None:
    person = server.person()
    server.synapse("POST", f"/_synapse/admin/v1/deactivate/{quote(person.mxid)}", {"erase": True}).raise_for_status()
    _deactivate(server, person, skip_erase=True)
    assert server.try_login(person).status_code == 403
    assert soon(_is(server, person, deactivated=True, erased=True))


def test_an_unknown_user_cannot_be_deactivated(server: Server) -> None:
    answer = server.admin("POST", f"users/{NO_SUCH_USER}/deactivate", {"skip_erase": True})
    assert (answer.status_code, title(answer)) == (404, f"User ID {NO_SUCH_USER} not found")


def test_reactivation_opens_both_sides_before_the_answer(server: Server) -> None:
    person = server.person()
    _deactivate(server, person, skip_erase=True)
    assert soon(_is(server, person, deactivated=True, erased=False))
    path = f"users/{person.id}/reactivate"
    # Synapse on a new SQLite database can't reactivate until its indexes exist, for about 15 s.
    assert soon(lambda: server.admin("POST", path).status_code == 200)
    assert _is(server, person, deactivated=False, erased=False)()
    assert server.user(person.localpart)["deactivated_at"] is None


def test_a_job_that_is_late_leaves_synapse_behind_for_a_while(server: Server, stand_in: Mas) -> None:
    person = server.person()
    stand_in.control("PUT", "jobs", {"held": True})
    assert _deactivate(server, person, skip_erase=True)["deactivated_at"]
    assert _is(server, person, deactivated=False, erased=False)()
    stand_in.control("PUT", "jobs", {})
    assert soon(_is(server, person, deactivated=True, erased=False))


def test_a_job_that_failed_for_good_is_repaired_by_another_deactivation(server: Server, stand_in: Mas) -> None:
    """Until then the account is active in Synapse and deactivated in MAS."""
    person = server.person()
    stand_in.control("PUT", "jobs", {"failing": True})
    _deactivate(server, person, skip_erase=True)
    assert soon(lambda: [job["state"] for job in _jobs(stand_in, person)] == ["failed"])
    assert _is(server, person, deactivated=False, erased=False)()
    stand_in.control("PUT", "jobs", {})
    _deactivate(server, person, skip_erase=True)
    assert soon(_is(server, person, deactivated=True, erased=False))
    assert [job["state"] for job in _jobs(stand_in, person)] == ["failed", "done"]


def _jobs(mas: Mas, person: Person) -> list[dict[str, Any]]:
    every: list[dict[str, Any]] = mas.control("GET", "jobs")
    return [job for job in every if job["user_id"] == person.id and job["kind"] == "deactivate-user"]
