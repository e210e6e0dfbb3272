"""A batch of the largest records that Kafka takes by default, and a batch that is too large."""

import json
from collections.abc import Callable
from pathlib import Path

from dev.identity_events import deleted_payload, new_user, profile, profile_payload, typed
from dev.servers.daprd import FunctionProcess
from tests.integration.stack import StackUnderTest, wait_until
from tests.support.metrics_page import refused

RECORD = 1_048_588 - 1000  # bytes: Kafka's default limit, less what stands around a value
COUNT = 100


def test_a_hundred_of_the_largest_records_are_taken(world: StackUnderTest, tell: Callable[[str], None]) -> None:
    """A refused batch would be redelivered without end and block its partition."""
    events = []
    for _ in range(COUNT):
        user = new_user()
        payload = profile_payload(user, "Ada")
        payload["bio"] = "x" * (RECORD - len(json.dumps(payload | {"bio": ""})))
        events.append(typed("identity.user.profile_updated", user, payload))
    small = profile(new_user(), "Bob")
    world.send(*events, small)
    world.settle()
    outcomes = world.outcomes([*events, small])
    assert {tuple(told) for told in outcomes.values()} == {("no_account",)}
    sizes = [line["size"] for line in world.function.log_lines() if line["event"] == "batch"]
    tell(f"{COUNT} records of {RECORD} bytes, in batches of up to {max(sizes)}")


def test_a_batch_that_is_too_large_waits_until_it_is_taken(
    world: StackUnderTest, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """daprd treats a 413 as RETRY although the body was not read: it commits nothing and dead-letters nothing."""
    users = [new_user() for _ in range(5)]
    world.create(*users)
    large = {"note": "x" * (RECORD - 1000)}
    events = [typed("identity.user.deleted", user, deleted_payload(user) | large) for user in users]
    world.settle()
    world.function.stop()
    full = FunctionProcess(world.environment, tmp_path, "tests.integration.programs.overloaded")
    try:
        full.start()
        wait_until(lambda: full.ready() is True, "ready, since no dependency fails")
        world.send(*events)
        wait_until(lambda: refused(world, "too_large") >= 3, "the same batch a third time")
        assert world.lag() == len(events)
        tell(f"answered 413: {refused(world, 'too_large'):.0f} times")
    finally:
        full.stop()
        world.function.start()
    world.settle()
    assert {tuple(told) for told in world.outcomes(events).values()} == {("applied",)}
    assert all(world.account(user)["erased"] for user in users)  # type: ignore[index]
    assert world.letters(event.event_id for event in events) == []
