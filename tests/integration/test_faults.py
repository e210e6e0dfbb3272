"""Outages of Synapse, the function, daprd, Kafka and PostgreSQL: 200 events each, none lost."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from dev.identity_events import ProducerRecord, deleted, new_user, profile
from dev.stack import Stack
from tests.integration.stack import StackUnderTest, wait_until
from tests.support.metrics_page import refused

USERS = 50
Tell = Callable[[str], None]


class Work:
    """200 events for 50 users: three profiles each, the newest sent second, and a deletion for every fifth user."""

    def __init__(self, world: StackUnderTest) -> None:
        self.users = [new_user() for _ in range(USERS)]
        self.gone = set(self.users[::5])
        world.create(*self.users)
        self.sent: list[ProducerRecord] = []
        for minute in (1, 3, 2):
            self.sent += [profile(user, f"name {minute}", minute) for user in self.users]
        self.sent += [deleted(user) for user in self.gone]
        self.sent += [profile(user, f"name {3}", 3) for user in self.users if user not in self.gone]
        self.half = len(self.sent) // 2

    def check(self, world: StackUnderTest) -> None:
        """Every end state is right and nothing is in the dead letters."""
        for user in self.users:
            account = world.account(user)
            assert account
            if user in self.gone:
                assert (account["deactivated"], account["erased"], account["displayname"]) == (True, True, None)
            else:
                assert (account["displayname"], account["deactivated"]) == ("name 3", False)
        assert world.letters(event.event_id for event in self.sent) == []


def first_applied(world: StackUnderTest, work: Work) -> None:
    wait_until(lambda: any("applied" in o for o in world.outcomes(work.sent).values()), "a first event applied")


def test_synapse_stopped_in_the_middle_and_started_again(world: StackUnderTest, tell: Tell) -> None:
    work = Work(world)
    world.send(*work.sent[: work.half])
    first_applied(world, work)
    world.stack.synapse.stop()
    world.send(*work.sent[work.half :])
    wait_until(lambda: world.function.ready() is False, "not ready while Synapse is away")
    world.stack.synapse.start()
    world.settle(120)
    work.check(world)
    tell(f"Synapse stopped and started: {world.tally(work.sent)}")


def function_killed(world: StackUnderTest) -> None:
    world.function.stop(kill=True)
    world.function.start()


def function_terminated(world: StackUnderTest) -> None:
    world.function.stop()
    world.function.start()


def daprd_killed(world: StackUnderTest) -> None:
    world.sidecar.stop(kill=True)
    world.sidecar.start()


def kafka_killed(world: StackUnderTest) -> None:
    world.stack.kafka.stop(kill=True)
    world.stack.kafka.start()


@pytest.mark.parametrize("interrupt", [function_killed, function_terminated, daprd_killed, kafka_killed])
def test_a_process_that_dies_while_events_flow_loses_nothing(
    world: StackUnderTest, tell: Tell, interrupt: Callable[[StackUnderTest], None]
) -> None:
    work = Work(world)
    world.send(*work.sent)
    first_applied(world, work)
    interrupt(world)
    world.settle(120)
    work.check(world)
    tell(f"{interrupt.__name__.replace('_', ' ')}: {world.tally(work.sent)}")


def test_a_wrong_token_from_daprd_is_refused_and_nothing_is_lost(world: StackUnderTest) -> None:
    """With a wrong APP_API_TOKEN every delivery of daprd is refused; with the right one the same record is applied."""
    user = new_user()
    world.create(user)
    world.sidecar.stop()
    wrong = world.sidecar.with_environment({"APP_API_TOKEN": "not-the-token"})
    try:
        wrong.start()
        event = profile(user, "Ada", 1)
        world.send(event)
        before = refused(world, "token")
        wait_until(lambda: refused(world, "token") >= before + 2, "the same batch a second time")
        assert "caller_refused" in {line["event"] for line in world.function.log_lines()}
        assert world.lag() > 0
    finally:
        wrong.stop()
    world.sidecar.start()
    world.settle()
    assert world.account(user)["displayname"] == "Ada"  # type: ignore[index]


def test_a_caller_without_token_gets_nowhere(world: StackUnderTest) -> None:
    response = httpx.post(f"http://127.0.0.1:{world.environment['APP_PORT']}/events/identity", json={"entries": []})
    assert response.status_code == 401


@pytest.mark.parametrize("switch", ["KAFKA_ENABLED", "MATRIX_ENABLED"])
def test_switched_off_consumes_nothing_and_on_again_resumes(world: StackUnderTest, tmp_path: Path, switch: str) -> None:
    world.settle()
    user = new_user()
    world.create(user)
    world.stop()
    off = StackUnderTest(world.stack, tmp_path, {switch: "false"})
    off.start()
    event = profile(user, "waiting", 1)
    off.send(event)
    assert off.function.ready_body()["consuming"] is False
    assert off.lag() == 1
    off.stop()
    assert world.account(user)["displayname"] == "before"  # type: ignore[index]
    world.start()
    world.settle()
    assert world.account(user)["displayname"] == "waiting"  # type: ignore[index]


def test_synapse_without_its_database_stops_the_flow(tmp_path: Path, tell: Tell) -> None:
    """Synapse's /health stays 200 while PostgreSQL is away: every call fails, and none of it is an event's fault."""
    with Stack.on_free_ports(tmp_path / "stack", postgres=True) as stack:
        world = StackUnderTest(stack, tmp_path / "function")
        world.start()
        try:
            work = Work(world)
            world.send(*work.sent[: work.half])
            first_applied(world, work)
            stack.postgres.stop()
            world.send(*work.sent[work.half :])
            wait_until(lambda: world.function.ready() is False, "not ready while the database is away")
            stack.postgres.start()
            world.settle(120)
            work.check(world)
            tell(f"PostgreSQL stopped under Synapse: {world.tally(work.sent)}")
        finally:
            world.stop()
