"""How a program gets an admin token of Synapse from MAS."""

from urllib.parse import quote

import pytest

from tests.contract.mas.server import NO_SUCH_USER, SYNAPSE_ADMIN, Server, attributes


def _reads(server: Server, token: str) -> int:
    """Returns what Synapse's admin API answers to the token."""
    mxid = f"@{NO_SUCH_USER.lower()}:{server.server_name}"
    return server.synapse("GET", f"/_synapse/admin/v2/users/{quote(mxid)}", token=token).status_code


def test_its_token_is_an_admin_of_synapse_and_makes_no_device(server: Server) -> None:
    user = server.create()
    token = server.personal(user["id"], SYNAPSE_ADMIN)["access_token"]
    assert _reads(server, token) == 404
    assert server.devices(f"@{user['username']}:{server.server_name}") == []


@pytest.mark.parametrize(("scope", "status"), [("urn:matrix:client:api:*", 403), ("urn:synapse:admin:*", 401)])
def test_both_scopes_are_needed(server: Server, scope: str, status: int) -> None:
    """Without the admin's it is a user's token; without the client's it is none."""
    assert _reads(server, server.personal(server.create()["id"], scope)["access_token"]) == status


def test_the_token_is_shown_once(server: Server) -> None:
    user = server.create()["id"]
    made = server.personal(user, SYNAPSE_ADMIN)
    answer = server.admin("GET", f"personal-sessions?filter[actor_user]={user}")
    assert [row["id"] for row in answer.json()["data"]] == [made["id"]]
    assert made["access_token"] not in answer.text


def test_a_regenerated_token_takes_the_place_of_the_first(server: Server) -> None:
    """A token that Synapse has seen goes on there for up to 2 minutes; this one it has not seen."""
    made = server.personal(server.create()["id"], SYNAPSE_ADMIN)
    answer = server.admin("POST", f"personal-sessions/{made['id']}/regenerate", {"expires_in": 3600})
    assert answer.status_code == 201
    again = attributes(answer)
    assert again["id"] == made["id"]
    assert again["expires_at"]
    assert _reads(server, made["access_token"]) == 401
    assert _reads(server, again["access_token"]) == 404


def test_a_revoked_session_has_no_token_any_more(server: Server) -> None:
    made = server.personal(server.create()["id"], SYNAPSE_ADMIN)
    assert server.admin("POST", f"personal-sessions/{made['id']}/revoke").status_code == 200
    assert _reads(server, made["access_token"]) == 401
    assert server.admin("POST", f"personal-sessions/{made['id']}/revoke").status_code == 409


def test_a_deactivated_user_gets_no_token_and_an_unknown_one_neither(server: Server) -> None:
    user = server.create()["id"]
    server.admin("POST", f"users/{user}/deactivate").raise_for_status()
    body = {"actor_user_id": user, "human_name": "contract suite", "scope": SYNAPSE_ADMIN, "expires_in": 60}
    assert server.admin("POST", "personal-sessions", body).status_code == 410
    assert server.admin("POST", "personal-sessions", body | {"actor_user_id": NO_SUCH_USER}).status_code == 404
