"""How MAS links users with identities at an upstream provider."""

import uuid

import httpx

from tests.contract.mas.server import NO_SUCH_USER, Server, attributes, title


def _link(server: Server, user: str, subject: str, provider: str = "") -> httpx.Response:
    body = {"user_id": user, "provider_id": provider or server.provider, "subject": subject}
    return server.admin("POST", "upstream-oauth-links", body)


def _owners(server: Server, subject: str) -> list[str]:
    query = f"filter[provider]={server.provider}&filter[subject]={subject}"
    rows = server.admin("GET", f"upstream-oauth-links?{query}").json()["data"]
    return [row["attributes"]["user_id"] for row in rows]


def test_a_user_is_linked_with_an_identity(server: Server) -> None:
    user, subject = server.create()["id"], str(uuid.uuid4())
    answer = _link(server, user, subject)
    assert answer.status_code == 201
    assert attributes(answer)["user_id"] == user
    assert _owners(server, subject) == [user]


def test_an_identity_that_is_linked_is_refused_to_its_own_user_and_to_another_alike(server: Server) -> None:
    """Only the list of links tells whose it is."""
    user, other, subject = server.create()["id"], server.create()["id"], str(uuid.uuid4())
    _link(server, user, subject)
    same, foreign = _link(server, user, subject), _link(server, other, subject)
    assert same.status_code == foreign.status_code == 409
    assert title(same) == title(foreign)
    assert _owners(server, subject) == [user]


def test_an_unknown_user_or_provider_is_not_found(server: Server) -> None:
    user, subject = server.create()["id"], str(uuid.uuid4())
    assert _link(server, NO_SUCH_USER, subject).status_code == 404
    assert _link(server, user, subject, NO_SUCH_USER).status_code == 404
    assert _owners(server, subject) == []


def test_the_link_of_a_deactivated_user_stays(server: Server) -> None:
    user, subject = server.create()["id"], str(uuid.uuid4())
    _link(server, user, subject)
    server.admin("POST", f"users/{user}/deactivate").raise_for_status()
    assert _owners(server, subject) == [user]


def test_a_link_is_deleted_once(server: Server) -> None:
    subject = str(uuid.uuid4())
    key = attributes(_link(server, server.create()["id"], subject))["id"]
    assert server.admin("DELETE", f"upstream-oauth-links/{key}").status_code == 204
    assert server.admin("DELETE", f"upstream-oauth-links/{key}").status_code == 404
    assert _owners(server, subject) == []


def test_a_provider_is_found_by_its_id(server: Server) -> None:
    assert server.admin("GET", f"upstream-oauth-providers/{server.provider}").status_code == 200
    assert server.admin("GET", f"upstream-oauth-providers/{NO_SUCH_USER}").status_code == 404
    listed = server.admin("GET", "upstream-oauth-providers?page[first]=100").json()["data"]
    assert server.provider in [row["id"] for row in listed]
