"""The stub takes calls as Synapse does, counts them, and fails a share."""

from typing import Any

import pytest

from benchmarks.stub_synapse.accounts import StubAccounts

USER = "@nova-a:staging.nova.app"
PROFILE = f"/_matrix/client/v3/profile/{USER.replace('@', '%40')}/displayname"


def answered(stub: StubAccounts, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    return stub.answer(method, path, body or {}, 1.0)


def test_the_stub_takes_a_profile_and_shows_it() -> None:
    stub = StubAccounts([[USER, "before", ""]], [[USER, "after"]])
    assert stub.stats()["ends_left"] == 1
    assert answered(stub, "PUT", PROFILE, {"displayname": "after"}) == (200, {})
    status, account = answered(stub, "GET", f"/_synapse/admin/v2/users/{USER}")
    assert (status, account["displayname"]) == (200, "after")
    assert stub.stats() == {
        "calls": 2, "first": 1.0, "last": 1.0, "since": 0, "ends_left": 0, "ended_at": 1.0,
    }  # fmt: skip


def test_a_write_without_an_account_corrupts_the_id_on_the_stub_as_on_synapse() -> None:
    stub = StubAccounts()
    assert answered(stub, "PUT", PROFILE, {"displayname": "x"})[0] == 200
    assert answered(stub, "GET", f"/_synapse/admin/v2/users/{USER}")[0] == 404
    assert stub.corrupted == {USER}


def test_the_stub_ends_and_erases_accounts() -> None:
    stub = StubAccounts([[USER, "a", "mxc://b/c"]])
    path = f"/_synapse/admin/v1/deactivate/{USER}"
    assert answered(stub, "POST", path, {"erase": False})[0] == 200
    assert (stub.accounts[USER]["deactivated"], stub.accounts[USER]["displayname"]) == (True, "a")
    answered(stub, "POST", path, {"erase": True})
    assert (stub.accounts[USER]["erased"], stub.accounts[USER]["displayname"]) == (True, None)
    assert answered(stub, "POST", "/_synapse/admin/v1/deactivate/@nova-b:x")[0] == 404


def test_the_stub_does_not_count_what_is_not_about_a_user() -> None:
    stub = StubAccounts()
    status, body = answered(stub, "GET", "/_matrix/client/v3/account/whoami")
    own = body["user_id"]
    assert status == 200
    assert answered(stub, "GET", f"/_synapse/admin/v2/users/{own}")[1]["admin"] is True
    assert answered(stub, "PUT", f"/_matrix/client/v3/user/{own}/account_data/probe", {"at": 1})[0] == 200
    assert stub.stats()["calls"] == 0


@pytest.mark.parametrize("rest", ["devices", "joined_rooms", "override_ratelimit"])
def test_the_stub_answers_other_questions_about_a_user(rest: str) -> None:
    stub = StubAccounts([[USER, "a", ""]])
    assert answered(stub, "GET", f"/_synapse/admin/v2/users/{USER}/{rest}")[0] == 200


def test_the_stub_fails_a_share_of_the_calls_and_applies_those_that_it_limits() -> None:
    stub = StubAccounts([[USER, "a", ""]], failing=0.2)
    statuses = []
    for number in range(200):
        status, _ = answered(stub, "PUT", PROFILE, {"displayname": str(number)})
        statuses.append(status)
        applied = stub.accounts[USER]["displayname"] == str(number)
        assert applied is (status != 500)
    assert statuses.count(500) > 10
    assert statuses.count(429) > 10
