"""Learning the accounts on the real servers, while the function runs."""

import json

from dev.identity_events import deleted, new_user, profile
from tests.integration.stack import StackUnderTest

NAME = "Ada Lovelace"


def warm_up(world: StackUnderTest, *options: str) -> dict[str, int]:
    done = world.tool("warm-up", "--json", *options)
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)["summary"]
    return found


def test_the_first_event_of_a_user_makes_only_the_calls_that_it_needs(world: StackUnderTest) -> None:
    same, renamed, gone, late = (new_user() for _ in range(4))
    world.create(same, renamed, gone, name=NAME)
    would = warm_up(world, "--dry-run")
    assert would["learned"] >= 3
    assert warm_up(world) == would | {"dry_run": False}
    world.create(late, name=NAME)
    assert warm_up(world)["learned"] == 1

    sent = [profile(same, NAME), profile(renamed, "Grace"), deleted(gone), profile(late, NAME)]
    world.send(*sent)
    world.settle()
    assert [world.outcomes(sent)[event.event_id] for event in sent] == [
        ["unchanged"], ["applied"], ["applied"], ["unchanged"],
    ]  # fmt: skip
    assert world.calls(same) == world.calls(late) == []
    assert world.calls(renamed) == [
        "GET /_synapse/admin/v2/users/USER",  # a name is not written on what a list said
        "PUT /_matrix/client/v3/profile/USER/displayname",
    ]
    renamed_account, gone_account = world.account(renamed), world.account(gone)
    assert renamed_account
    assert renamed_account["displayname"] == "Grace"
    assert gone_account
    assert gone_account["deactivated"]
