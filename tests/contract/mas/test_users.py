"""How MAS finds and creates users."""

import httpx
import pytest

from dev.servers.mas import Mas
from tests.contract.mas.server import API, NO_SUCH_USER, Server, new_localpart, title


def _mxid(server: Server, localpart: str) -> str:
    return f"@{localpart}:{server.server_name}"


def _post(server: Server, content: bytes, content_type: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": content_type}
    return server.mas.post(f"{API}/users", content=content, headers=headers)


def test_a_created_user_is_in_synapse_before_the_answer_with_its_name(server: Server) -> None:
    made = server.create(displayname="Ada")
    assert made["deactivated_at"] is None
    assert made["locked_at"] is None
    assert server.account(_mxid(server, made["username"]))["displayname"] == "Ada"


def test_mas_does_not_tell_the_name(server: Server) -> None:
    made = server.create(displayname="Ada")
    assert "Ada" not in str(server.user(made["username"]))


def test_a_user_is_created_once(server: Server) -> None:
    made = server.create()
    answer = server.admin("POST", "users", {"username": made["username"]})
    assert (answer.status_code, title(answer)) == (409, "User already exists")


def test_a_name_that_only_synapse_has_is_reserved_and_can_be_taken_over(server: Server, stand_in: Mas) -> None:
    made = server.create(displayname="Ada")
    stand_in.control("DELETE", f"users/{made['username']}")
    answer = server.admin("POST", "users", {"username": made["username"]})
    assert (answer.status_code, title(answer)) == (409, "Username is reserved by the homeserver")
    assert server.create(made["username"], skip_homeserver_check=True)["id"] != made["id"]
    assert server.account(_mxid(server, made["username"]))["displayname"] == "Ada"


@pytest.mark.parametrize("name", ["_nova", "Nova", "nova nova", "növa"])
def test_a_name_with_other_characters_is_refused(server: Server, name: str) -> None:
    answer = server.admin("POST", "users", {"username": name})
    assert (answer.status_code, title(answer)) == (400, "Username is not valid")


def test_a_body_that_mas_cannot_read_is_refused_in_plain_text(server: Server) -> None:
    """No JSON, so no list of errors."""
    missing = _post(server, b"{}", "application/json")
    assert missing.status_code == 422
    assert missing.headers["content-type"].startswith("text/plain")
    untyped = _post(server, b'{"username": "nova"}', "text/plain")
    assert untyped.status_code == 415
    assert untyped.headers["content-type"].startswith("text/plain")


def test_nothing_is_created_if_synapse_fails(server: Server) -> None:
    """A profile that was written before its account exists makes Synapse fail. Without a name the account can be created."""
    localpart = new_localpart()
    profile = f"/_matrix/client/v3/profile/{_mxid(server, localpart)}/displayname"
    server.synapse("PUT", profile, {"displayname": "Ghost"}).raise_for_status()
    answer = server.admin("POST", "users", {"username": localpart, "displayname": "Ada"})
    assert answer.status_code == 500
    assert title(answer)
    assert server.user(localpart) == {}
    server.create(localpart, displayname="")
    assert server.account(_mxid(server, localpart))


def test_a_user_is_found_by_name_whatever_the_case(server: Server) -> None:
    made = server.create()
    assert server.user(made["username"].upper())["id"] == made["id"]
    assert server.admin("GET", f"users/{made['id']}").json()["data"]["attributes"]["username"] == made["username"]


def test_an_unknown_user_is_not_found(server: Server) -> None:
    name = new_localpart()
    answer = server.admin("GET", f"users/by-username/{name}")
    assert (answer.status_code, title(answer)) == (404, f'User with username "{name}" not found')
    answer = server.admin("GET", f"users/{NO_SUCH_USER}")
    assert (answer.status_code, title(answer)) == (404, f"User ID {NO_SUCH_USER} not found")


def test_an_id_that_is_no_ulid_is_a_bad_request(server: Server) -> None:
    assert server.admin("GET", "users/nova").status_code == 400


def test_a_list_is_cut_into_pages_that_together_hold_each_user_once(server: Server) -> None:
    first, *made = [server.create()["id"] for _ in range(4)]
    seen: list[str] = []
    path = f"users?page[first]=2&page[after]={first}&count=false"
    while path:
        page = server.admin("GET", path).json()
        assert "meta" not in page
        assert len(page["data"]) <= 2
        seen += [row["id"] for row in page["data"]]
        path = page["links"].get("next", "").removeprefix(f"{API}/")
    assert seen == sorted(set(seen))
    assert set(made) <= set(seen)


def test_a_list_can_be_counted_without_being_read(server: Server) -> None:
    answer = server.admin("GET", "users?count=only&filter[status]=active").json()
    assert answer["meta"]["count"] >= 1
    assert not answer.get("data")


def test_a_list_of_deactivated_users_has_only_those(server: Server) -> None:
    gone = server.create()
    server.admin("POST", f"users/{gone['id']}/deactivate").raise_for_status()
    rows = server.admin("GET", f"users?filter[status]=deactivated&filter[search]={gone['username']}").json()["data"]
    assert [row["id"] for row in rows] == [gone["id"]]
    assert rows[0]["attributes"]["deactivated_at"]
