"""How a client gets a token for MAS's admin API, and how MAS refuses one."""

import httpx
import pytest

from dev.processes import wait_until
from dev.servers.mas import Mas
from tests.contract.mas.server import API, SYNAPSE_ADMIN, Server, title


def _ask(server: Server, **headers: str) -> httpx.Response:
    return server.mas.get(f"{API}/users?page[first]=1", headers=headers)


def _ask_with(server: Server, token: str) -> httpx.Response:
    return _ask(server, Authorization=f"Bearer {token}")


def test_the_client_gets_a_token_by_its_credentials_and_learns_how_long_it_lives(server: Server) -> None:
    granted = server.grant("urn:mas:admin").json()
    assert granted["token_type"] == "Bearer"
    assert granted["expires_in"] > 0
    assert "refresh_token" not in granted
    assert _ask_with(server, granted["access_token"]).status_code == 200


def test_a_wrong_secret_is_an_invalid_client(server: Server) -> None:
    refused = server.grant("urn:mas:admin", (server.client[0], "wrong"))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


def test_a_client_never_gets_the_admin_scope_of_synapse(server: Server) -> None:
    """That scope needs a user: a personal session has it."""
    refused = server.grant("urn:synapse:admin:*")
    assert (refused.status_code, refused.json()["error"]) == (403, "invalid_scope")


def test_a_request_without_a_token_is_a_bad_request(server: Server) -> None:
    answer = _ask(server)
    assert (answer.status_code, title(answer)) == (400, "Missing authorization header")


@pytest.mark.parametrize("token", ["garbage", "mat_garbage"])
def test_an_unknown_token_is_unauthorized(server: Server, token: str) -> None:
    answer = _ask_with(server, token)
    assert answer.status_code == 401
    assert title(answer)


def test_a_token_without_the_admin_scope_is_unauthorized_as_an_unknown_one_is(server: Server) -> None:
    token = server.personal(server.create()["id"], SYNAPSE_ADMIN)["access_token"]
    answer = _ask_with(server, token)
    assert (answer.status_code, title(answer)) == (401, "Missing urn:mas:admin scope")


def test_a_token_is_refused_once_its_time_is_over(server: Server, stand_in: Mas) -> None:
    stand_in.control("PUT", "client", {"token_seconds": 1})
    token = server.grant("urn:mas:admin").json()["access_token"]
    assert _ask_with(server, token).status_code == 200
    assert wait_until(lambda: _ask_with(server, token).status_code == 401, 5)


def test_a_token_outlives_a_change_of_the_secret(server: Server, stand_in: Mas) -> None:
    token = server.grant("urn:mas:admin").json()["access_token"]
    stand_in.control("PUT", "client", {"secret": "rotated"})
    assert server.grant("urn:mas:admin").status_code == 401
    assert server.grant("urn:mas:admin", (server.client[0], "rotated")).status_code == 200
    assert _ask_with(server, token).status_code == 200


def test_a_client_that_the_policy_does_not_name_gets_no_admin_token(server: Server, stand_in: Mas) -> None:
    stand_in.control("PUT", "client", {"admin": False})
    refused = server.grant("urn:mas:admin")
    assert (refused.status_code, refused.json()["error"]) == (403, "invalid_scope")
