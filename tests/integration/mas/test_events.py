"""What events become where MAS owns the accounts, from Kafka to both sides: people log in before and after."""

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from dev.identity_events import PASSWORD_CHANGED, created, deleted, new_user, password_changed_payload, profile, typed
from tests.contract.mas.server import Person, soon
from tests.integration.mas.stack import World, running
from tests.integration.stack import wait_until

Tell = Callable[[str], None]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("mas")) as started:
        yield started


def _sides(world: World, person: Person) -> tuple[bool, bool, bool]:
    """Returns whether MAS and Synapse have the user deactivated, and whether Synapse has it erased."""
    account, user = world.server.account(person.mxid), world.server.user(person.localpart)
    return user["deactivated_at"] is not None, bool(account["deactivated"]), bool(account["erased"])


@pytest.mark.parametrize("soft", [True, False])
def test_a_deleted_person_is_out_for_good(world: World, soft: bool, tell: Tell) -> None:
    user = new_user()
    person = world.server.person(f"nova-{user}")
    before = world.server.log_in(person)
    assert world.server.works(before.token)
    world.calls_at_mas()
    event = deleted(user, soft=soft)
    world.running.in_turn(event)
    at_mas, at_synapse = world.calls_at_mas(), world.running.calls(user)
    assert _sides(world, person) == (True, True, not soft)
    assert not world.server.works(before.token)
    assert world.server.try_login(person).status_code == 403
    assert world.running.outcomes([event]) == {event.event_id: ["applied"]}
    tell(f"{'soft' if soft else 'hard'} deletion: MAS {_named(at_mas, person)}; Synapse {at_synapse}")


def test_a_changed_password_ends_the_sessions_that_began_before_it(world: World, tell: Tell) -> None:
    user = new_user()
    person = world.server.person(f"nova-{user}")
    first = world.server.log_in(person)
    changed = datetime.now(UTC).isoformat()
    second = world.server.log_in(person)
    assert world.server.works(first.token)
    world.calls_at_mas()
    world.running.in_turn(typed(PASSWORD_CHANGED, user, password_changed_payload(user, changed)))
    at_mas, at_synapse = world.calls_at_mas(), world.running.calls(user)
    assert soon(lambda: not world.server.works(first.token))
    assert world.server.works(second.token)
    assert world.server.try_login(person).status_code == 200
    tell(f"changed password, two sessions: MAS {_named(at_mas, person)}; Synapse {at_synapse}")


def test_a_created_person_has_an_account_with_name_and_link_before_the_first_login(world: World, tell: Tell) -> None:
    user = new_user()
    world.calls_at_mas()
    world.running.in_turn(profile(user, "Ada Lovelace", 1), created(user, "ada"))
    at_mas, at_synapse = world.calls_at_mas(), world.running.calls(user)
    made = world.server.user(f"nova-{user}")
    person = Person(made["id"], made["username"], f"@nova-{user}:{world.server.server_name}", "")
    assert _sides(world, person) == (False, False, False)
    assert world.server.account(person.mxid)["displayname"] == "Ada Lovelace"
    links = world.server.admin("GET", f"upstream-oauth-links?filter[user]={made['id']}").json()["data"]
    assert [(one["attributes"]["provider_id"], one["attributes"]["subject"]) for one in links] == [
        (world.server.provider, user)
    ]
    tell(f"name, then creation: MAS {_named(at_mas, person)}; Synapse {at_synapse}")


def test_events_wait_while_mas_is_down_and_none_is_lost(world: World) -> None:
    """Not ready with the reason; on again by itself."""
    user = new_user()
    person = world.server.person(f"nova-{user}")
    world.running.settle()
    world.mas.stop()
    event = deleted(user)
    world.running.send(event)
    ready = world.running.function.ready_body
    wait_until(lambda: ready().get("reason") == "mas_unavailable", f"MAS is down, and not {ready()}")
    assert world.running.lag() == 1
    world.mas.start()
    world.running.settle(120)
    assert _sides(world, person) == (True, True, True)
    assert world.running.letters([event.event_id]) == []


def test_a_client_secret_that_is_rotated_while_running_loses_nothing(world: World, tell: Tell) -> None:
    """And the tokens of the old one end: the client's, and that of Synapse."""
    users = [new_user() for _ in range(5)]
    people = [world.server.person(f"nova-{user}") for user in users]
    rotated = uuid.uuid4().hex
    first = [profile(user, "first", 1) for user in users]
    world.running.in_turn(*first)
    world.mas.control("PUT", "client", {"secret": rotated})
    world.rotate(rotated)
    world.mas.control("DELETE", "tokens?username=nova-service")
    second = [deleted(user) for user in users]
    world.running.send(*second)
    world.running.settle(120)
    world.server.reset()
    world.rotate(world.mas.client_secret)
    assert [_sides(world, person) for person in people] == [(True, True, True)] * 5
    assert world.running.letters(event.event_id for event in first + second) == []
    tell(f"client secret rotated: {world.running.tally(first + second)}")


def _named(calls: list[str], person: Person) -> list[str]:
    return [call.replace(person.id, "ID").replace(person.localpart, "USER") for call in calls]
