"""What Synapse itself answers once it has given its accounts to MAS."""

import uuid

import pytest

from tests.contract.mas.server import SYNAPSE_ADMIN, Server, attributes


def _user_path(server: Server, localpart: str) -> str:
    return f"/_synapse/admin/v2/users/@{localpart}:{server.server_name}"


def test_it_says_who_owns_its_accounts(server: Server) -> None:
    answer = server.homeserver.get("/_matrix/client/v1/auth_metadata")
    assert answer.status_code == 200
    assert answer.json()["issuer"]


def test_it_creates_no_account(server: Server) -> None:
    answer = server.synapse("PUT", _user_path(server, f"nova-{uuid.uuid4()}"), {"displayname": "Ada"})
    assert (answer.status_code, answer.json()["errcode"]) == (403, "M_FORBIDDEN")


def test_it_lists_users_only_without_guests(server: Server) -> None:
    path = "/_synapse/admin/v2/users?limit=1"
    assert server.synapse("GET", path).json()["errcode"] == "M_INVALID_PARAM"
    assert server.synapse("GET", f"{path}&guests=false").status_code == 200


@pytest.mark.parametrize(
    "path", ["/_matrix/client/v3/login", "/_matrix/client/v3/account/deactivate", "/_matrix/client/v3/account/password"]
)
def test_it_serves_no_login_and_no_account_management(server: Server, path: str) -> None:
    if server.stand_in is None:
        pytest.skip("a real deployment sends these paths to MAS")
    answer = server.synapse("POST", path, {})
    assert (answer.status_code, answer.json()["errcode"]) == (404, "M_UNRECOGNIZED")


def test_an_admin_can_neither_reset_a_password_nor_act_as_a_user(server: Server) -> None:
    made = server.create()
    mxid = f"@{made['username']}:{server.server_name}"
    for path in (f"v1/reset_password/{mxid}", f"v1/users/{mxid}/login"):
        answer = server.synapse("POST", f"/_synapse/admin/{path}", {"new_password": "x"})
        assert (answer.status_code, answer.json()["errcode"]) == (404, "M_UNRECOGNIZED")


def test_names_and_accounts_are_read_and_written_as_before(server: Server) -> None:
    made = server.create(displayname="Ada")
    mxid = f"@{made['username']}:{server.server_name}"
    profile = f"/_matrix/client/v3/profile/{mxid}/displayname"
    assert server.synapse("PUT", profile, {"displayname": "Ada Lovelace"}).status_code == 200
    assert server.account(mxid)["displayname"] == "Ada Lovelace"


def test_what_it_has_for_mas_is_for_mas_alone(server: Server) -> None:
    answer = server.synapse("POST", "/_synapse/mas/delete_user", {"localpart": "ada", "erase": True})
    assert answer.status_code == 403


def test_a_token_that_it_knows_outlives_a_regeneration_for_a_while(server: Server) -> None:
    """For up to 2 minutes, so a renewal loses no request that is under way."""
    made = server.personal(server.create()["id"], SYNAPSE_ADMIN)
    assert server.works(made["access_token"])
    again = server.admin("POST", f"personal-sessions/{made['id']}/regenerate", {"expires_in": 3600})
    assert server.works(attributes(again)["access_token"])
    assert server.works(made["access_token"])
