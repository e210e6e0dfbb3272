"""A batch of the largest records that Kafka takes by default."""

import json
from collections.abc import Callable

from tests.integration.world import World, new_user, profile, profile_payload, typed

RECORD = 1_048_588 - 1000  # bytes: Kafka's default limit, less what stands around a value
COUNT = 100


def test_a_hundred_of_the_largest_records_are_taken(world: World, tell: Callable[[str], None]) -> None:
    """One that is refused would come for ever, and hold its partition up."""
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
